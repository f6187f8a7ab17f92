"""Whether what everybody saw in a round was one log, when all is over and the machines are whole again.

What was acknowledged, to whom and by which machine ever, must be stored, once, at its place, and the same on all three
machines and by both servers.  test/crash/history.py judges writers and readers, test/consumers/judge.py the members,
and here are the rest: that machines agree, and that decisions were right.
"""
from bisect import bisect_right
from collections import Counter

import history
from history import Follower, Message
from judge import Counts, History
from load import CATEGORY, message_of
from people import CONSUMER, REFUSED

from store import wait_until

STORED = """
    SELECT id::text, stream_name, "position", global_position, data->>'mark', metadata->'tags'
    FROM {schema}.messages ORDER BY global_position"""
DISAGREE = "machines disagree"
WRONG_DECISION = "decided wrongly"
WRONGLY_REFUSED = "refused without a reason"
GONE = "seen by a reader, acknowledged to nobody, and gone"
# What the last line calls it; all else is `wrong`.
NAMES = {
    history.LOST: "lost", history.SKIPPED: "lost", history.MISPLACED: "lost", DISAGREE: "lost",
    history.DUPLICATED: "twice", "twice": "twice", history.HOLE: "holes", history.TORN: "holes",
    history.OUT_OF_ORDER: "out_of_order", "out_of_order": "out_of_order", "lost": "lost", history.FAILED: "failed",
    GONE: "gone"
}
COUNTED = ("lost", "twice", "holes", "out_of_order", "failed", "wrong")


def counted(verdict):
    counts = Counter()
    for kind, number in verdict.counts().items():
        counts[NAMES.get(kind, "wrong")] += number
    return counts


def schema_of(machine, namespace):
    ((schema,),) = machine.sql("SELECT quote_ident(schema) FROM millrace.namespaces WHERE name = %s", namespace)
    return schema


def stored_on(machine, schema):
    """All that it has: messages, and the tags of those that have some."""
    rows = machine.sql(STORED.format(schema=schema))
    return [Message(*row[:5]) for row in rows], {row[3]: row[5] for row in rows if row[5]}


def read_by(way):
    """The same by a server."""
    client, rows, position = way.client(), [], 1
    while page := client.call("category.get", "", {"position": position, "batchSize": 5000}):
        rows += map(message_of, page)
        position = page[-1][4] + 1
    client.close()
    return rows


def wait_for_standbys(trio):
    leader = trio.leader()
    at = leader.sql("SELECT pg_current_wal_lsn()")[0][0]
    for machine in trio.others(leader):
        wait_until(lambda: machine.sql("SELECT pg_last_wal_replay_lsn() >= %s", at)[0][0], f"{machine} to follow", 60)
    return leader


def check_agreement(verdict, stored, others):
    """`others`: name -> the same as read elsewhere."""
    for name, rows in others.items():
        for message in set(map(str, stored)) ^ set(map(str, rows)):
            verdict.complain(DISAGREE, f"{message}, the leader and {name}")
        if rows != stored and sorted(map(str, rows)) == sorted(map(str, stored)):
            verdict.complain(history.OUT_OF_ORDER, f"{name} has another order")


def positions_by_tags(tags):
    """For each set of one or two tags, the global positions of messages that have them, rising."""
    found = {}
    for position in sorted(tags):
        mine = sorted(tags[position])
        for query in [*((tag,) for tag in mine), *((a, b) for a in mine for b in mine if a < b)]:
            found.setdefault(query, []).append(position)
    return found


def check_decisions(verdict, decisions, stored, tags):
    """Between what a decision rests on and its message nothing lies that matters; and what was refused has a reason,
    and is not there."""
    places, matching = {message.mark: message.global_position for message in stored}, positions_by_tags(tags)
    for decision in decisions:
        append = decision.append
        found = matching.get(tuple(sorted(decision.tags)), [])
        later = found[bisect_right(found, decision.after):]
        place = places.get(append.parts[0].marks[0])
        if append.outcome == REFUSED:
            if place is not None:
                verdict.complain(history.REFUSED_BUT_STORED, append.what)
            if not later:
                verdict.complain(WRONGLY_REFUSED, f"{append.what}, {decision.tags} after {decision.after}")
        elif place is not None and later and later[0] < place:
            verdict.complain(WRONG_DECISION, f"{append.what} at {place}: {later[0]} has {decision.tags}, "
                             f"after {decision.after}")


def check_members(verdict, members, stored, outages):
    record = History(CONSUMER, "stream", [(message.global_position, message.stream) for message in stored
                                          if message.stream.startswith(CATEGORY + "-")], outages)
    for member in members:
        record.take_record(member.record, member.name)
    counts = Counts()
    record.judge(counts)
    for kind, number in counts.counts.items():
        for line in range(number):
            verdict.complain(kind, counts.lines[0] if line == 0 else "likewise, by a consumer")
    for line in counts.lines[1:30]:
        print(f"  {line}")
    return record.count()


def set_gone_aside(followers, appends, stored):
    """Takes out of what followers saw the messages that are not stored, and that nobody was told to be there; returns
    what they were.

    A leader that steps down ends its waits for the standby, and for a moment shows what that has not got; with its
    standby cut off, that is all it has not acknowledged.
    """
    told = [(mark, part.global_position, part.last_global_position) for append in appends
            if append.outcome == history.STORED for part in append.parts for mark in part.marks]
    there, ranges = {message.global_position for message in stored}, {}
    for mark, first, last in told:
        ranges.setdefault(mark, []).append((first, last))
    gone = []
    for follower in followers:
        kept = []
        for row in follower.rows:
            was_told = any(first <= row.global_position <= last for first, last in ranges.get(row.mark, []))
            if row.global_position in there or was_told:
                kept.append(row)
            else:
                gone.append(f"{follower.name} had seen {history.place(row)}")
        follower.rows = kept
    return gone


def judge(crowd, trio, namespace, outages=(), cut_off=False):
    """`outages`: from when to when Postgres was away, by time.monotonic(); `cut_off`: a leader was, with readers."""
    crowd.end_writing()
    leader = wait_for_standbys(trio)
    schema = schema_of(leader, namespace)
    stored, tags = stored_on(leader, schema)
    crowd.end_reading(stored[-1].global_position)
    wait_for_standbys(trio)
    everywhere = [Follower(f"pages of all at {each.client.connection.host}", each.seen.rows, each.seen.finished)
                  for each in crowd.pages if not each.category]
    everywhere += [each.seen for each in crowd.subscribers]
    of_category = [each.seen for each in crowd.pages if each.category]
    gone = set_gone_aside(everywhere + of_category, crowd.appends, stored) if cut_off else []
    verdict = history.check(crowd.appends, [seen for each in crowd.writers for seen in each.observations],
                            everywhere, stored)
    for each in crowd.pages:
        if each.category:
            history.check_follower(verdict, each.seen, [message for message in stored
                                                        if message.stream.startswith(each.category + "-")])
    for text in gone:
        verdict.complain(GONE, text)
    check_agreement(verdict, stored, {
        **{machine.name: stored_on(machine, schema)[0] for machine in trio.others(leader)},
        **{way.name: read_by(way) for way in crowd.ways}
    })
    check_decisions(verdict, [each for one in crowd.deciders for each in one.decisions], stored, tags)
    settled = check_members(verdict, crowd.members, stored, outages)
    for each in crowd.callers:
        for failure in each.read_failures:
            verdict.complain(history.FAILED, f"{each.name}: {failure}")
    for each in (*crowd.callers, *crowd.subscribers, *crowd.stubborn):
        if each.error:
            verdict.complain(history.FAILED, f"{each.name}: {each.error!r}")
    return verdict, settled


