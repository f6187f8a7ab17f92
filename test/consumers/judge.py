"""Judges what the members of a consumer did, against what is in the log.

What is known of a message is by claims.  A claim that settles it *for certain* is one of a member by SQL that wrote the
effect in the settling transaction (a row of the table effects), or one that the server called settled to a member by
HTTP.  A claim *perhaps* settles it where the answer was lost, and some member without the claim's number (`millrace
consume`) perhaps did.  A claim that was called lost at the first attempt settles nothing, unless Postgres was killed
meanwhile: the server may have asked it a second time.

`twice`: a message that a second claim settled for certain, or that was in a claim with a higher number than the one
that had settled it.  `lost`: a message that no claim settled, not even perhaps; an effect of one that is not in the
log; an acknowledged one that is not.  `out_of_order`: effects of a stream (with ordering `all`, of all streams) not in
its order, be it in the table or by claims; a message in a claim while the one before it in its stream was settled by no
claim before this one, and is not in it either; messages of a claim not by global position.
"""
from collections import defaultdict


class Counts:
    """What is wrong, by kind, with a line for the first few of each."""

    def __init__(self):
        self.counts, self.lines = defaultdict(int), []

    def add(self, kind, text, history=None, position=""):
        self.counts[kind] += 1
        if self.counts[kind] > 10:
            return
        self.lines.append(f"{kind}: {history.name + ': ' if history else ''}{position} {text}")
        if history and self.counts[kind] <= 3:
            self.lines.extend(history.about(position))


class History:
    """Of one consumer.  Messages are known by their global positions."""

    def __init__(self, name, ordering, log, outages=()):
        """`log`: all that the consumer has to deal with, (global position, stream), by global position; `outages`:
        when Postgres was killed and came back, by the clock of the members' records."""
        self.name, self.outages = name, outages
        self.streams = {position: "" if ordering == "all" else stream for position, stream in log}
        self.before, last = {}, {}  # what is before a message in its stream
        for position, stream in self.streams.items():
            self.before[position] = last.get(stream)
            last[stream] = position
        self.delivered = defaultdict(list)  # claim -> messages
        self.effects = []                   # (claim, message) of certain ones, in the order of the table
        self.answered = []                  # the same of members by HTTP, in no order
        self.perhaps = defaultdict(list)    # message -> claims
        self.untold = set()
        self.told = defaultdict(list)       # claim -> what its member wrote down of it
        self.fenced, self.problems = 0, []

    def take_effects(self, rows):
        """Rows of the table, (claim, global position), in its order."""
        self.effects.extend(rows)

    def take_record(self, lines, member="a member"):
        """What a member wrote down, from its first line on; one that was killed may lack any end of it."""
        done, said_at = {}, {}
        for line in lines:
            claim = line.get("got") or line.get("settling") or line.get("settled") or line.get("lost")
            self.told[claim].append(f"{member}: {line}")
            if "got" in line:
                self.delivered[line["got"]].append(line["messages"])
            elif "settling" in line:
                done[line["settling"]], said_at[line["settling"]] = line["done"], line["at"]
            elif "settled" in line:
                self.answered.extend((line["settled"], position) for position in done.pop(line["settled"]))
            elif "lost" in line:
                self.fenced += line["sure"]
                if line["sure"] and not self.is_outage(said_at.get(line["lost"], line["at"]), line["at"]):
                    done.pop(line["lost"], None)
            elif "done" in line:
                self.untold.add(line["done"])
            elif "problem" in line:
                self.problems.append(line["problem"])
        for claim, positions in done.items():
            for position in positions:
                self.perhaps[position].append(claim)

    def is_outage(self, began, ended):
        return any(began <= back and killed <= ended for killed, back in self.outages)

    def about(self, position):
        """All that was told of the claims that had a message, for who looks for a fault."""
        claims = {claim for claim, answers in self.delivered.items() if any(position in answer for answer in answers)}
        by_effects = {claim for claim, message in self.effects if message == position}
        for claim in sorted(claims | by_effects):
            yield f"  {self.name}, {position}, claim {claim}" + (", with an effect" if claim in by_effects else "")
            yield from (f"    {line[:400]}" for line in self.told[claim])

    def count(self):
        """Effects that are known of."""
        return len(self.effects) + len(self.answered) + len(self.untold)

    def judge(self, counts):
        settled = defaultdict(list)  # message -> claims, for certain
        for claim, position in self.effects + self.answered:
            settled[position].append(claim)
        self.judge_twice(settled, counts)
        self.judge_lost(settled, counts)
        self.judge_order_of_effects(settled, counts)
        self.judge_deliveries(settled, counts)

    def judge_twice(self, settled, counts):
        for position, claims in settled.items():
            for claim in claims[1:]:
                counts.add("twice", f"was settled by {claims[0]}, and by {claim}", self, position)
        for claim, answers in self.delivered.items():
            for position in set(sum(answers, [])):
                first = min(settled.get(position, [claim]))
                if first < claim and claim not in settled[position]:
                    counts.add("twice", f"was settled by {first}, and is in {claim}", self, position)

    def judge_lost(self, settled, counts):
        for position in self.streams:
            if position not in settled and position not in self.perhaps and position not in self.untold:
                counts.add("lost", "was settled by no claim", self, position)
        for position in settled.keys() - self.streams.keys():
            counts.add("lost", "has an effect, and is not in the log", self, position)

    def judge_order_of_effects(self, settled, counts):
        by_claim = sorted((min(claims), position) for position, claims in settled.items())
        for what, effects in (("the table", self.effects), ("the claims", by_claim)):
            last, seen = {}, set()
            for claim, position in effects:
                if position in seen or position not in self.streams:
                    continue  # counted otherwise
                seen.add(position)
                stream = self.streams[position]
                if position < last.get(stream, 0):
                    counts.add("out_of_order", f"is behind {last[stream]} in {what}, by {claim}", self, position)
                last[stream] = position

    def judge_deliveries(self, settled, counts):
        for claim, answers in self.delivered.items():
            for messages in answers:
                if messages != sorted(messages):
                    counts.add("out_of_order", f"comes first in {claim}", self, messages[0])
                there = set(messages)
                for position in messages:
                    before = self.before.get(position)
                    if before is None or before in there or before in self.untold:
                        continue
                    if min(settled.get(before, []) + self.perhaps.get(before, []), default=claim) >= claim:
                        counts.add("out_of_order", f"is in {claim}, and {before} before it was not settled", self,
                                   position)


def judge_acknowledged(acknowledged, stored, counts):
    """Ids of messages that the writers had an answer for, and of those in the log."""
    for missing in acknowledged - stored:
        counts.add("lost", "was acknowledged, and is not in the log", position=missing)
