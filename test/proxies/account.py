"""What was acknowledged and what followers saw, against what SQL reads in the end."""
from collections import Counter, namedtuple

Row = namedtuple("Row", "global_position stream position key")


class Account:
    """Each message has a key of its own in its data."""

    def __init__(self):
        self.acknowledged = {}  # key -> (stream, position or None, global position or None)
        self.refused = {}       # key -> why it must not be there
        self.counts, self.lines = Counter(), []

    def complain(self, kind, text, count=1):
        self.counts[kind] += count
        if sum(line.startswith(kind) for line in self.lines) < 10:
            self.lines.append(f"{kind}: {text}"[:1000])

    def judge(self, rows, followers):
        """rows: all that is stored, by global position."""
        self.judge_stored(rows)
        for follower in followers:
            self.judge_follower(follower, [row.key for row in rows if follower.wants(row)], {row.key for row in rows})

    def judge_stored(self, rows):
        times, places = Counter(row.key for row in rows), {row.key: row for row in rows}
        for key, count in times.items():
            if count > 1:
                self.complain("twice", f"{key} is stored {count} times", count - 1)
            if key in self.refused:
                self.complain("failed", f"{key} is stored, and was answered with {self.refused[key]}")
        for key, (stream, position, global_position) in self.acknowledged.items():
            row = places.get(key)
            if row is None:
                self.complain("lost", f"{key} of {stream}, acknowledged at {position}, {global_position}")
            elif times[key] == 1 and (row.stream != stream or position not in (None, row.position)
                                      or global_position not in (None, row.global_position)):
                self.complain("lost",
                              f"{key} was acknowledged at {stream}[{position}], {global_position}, and is {row}")
        streams = {}
        for row in rows:
            if row.position != streams.get(row.stream, -1) + 1:
                self.complain("lost", f"{row.stream}[{row.position}] follows {streams.get(row.stream, -1)}")
            streams[row.stream] = row.position

    def judge_follower(self, follower, expected, stored):
        seen = Counter(follower.seen)
        for key in expected:
            if key not in seen:
                self.complain("lost", f"{follower.name} did not see {key}")
        for key, count in seen.items():
            if count > 1:
                self.complain("twice", f"{follower.name} saw {key} {count} times", count - 1)
            if key not in stored and key not in self.acknowledged:
                self.complain("lost", f"{follower.name} saw {key}, which is not stored")
        wanted = set(expected)
        if [key for key in dict.fromkeys(follower.seen)
                if key in wanted] != [key for key in dict.fromkeys(expected) if key in seen]:
            self.complain("lost", f"{follower.name} saw messages out of order")
