"""Consumers against a model of them, in random steps: nothing is given twice, out of its stream's order, or lost.

CONSUMER_SEEDS=1000 makes as many more of each ordering, and CONSUMER_SEED=17 is that one alone; a failure
prints its seed and its last steps."""
import json
import os
import random

import psycopg2
import psycopg2.extensions
import pytest

from store import Cluster, new_id, sql, temporary_folder

STEPS = 600
TYPES = [None, ["T", "U"]]
# Two of the names have one hash.
NAMES = ["1", "2", "3", "4", "5", "6", "7", "8"]
NAMESAKES = ["8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"]
NEXT = ("SELECT claim, stream_name, \"position\", global_position, type, attempt, error "
        "FROM millrace.consumer_next('c', %s, request => %s, namespace => %s)")


def seeds():
    if "CONSUMER_SEED" in os.environ:
        return [int(os.environ["CONSUMER_SEED"])]
    # 29 has given a stream twice that shares its hash with another.
    return [1, 2, 5, 6, 29, *range(30, 30 + int(os.environ.get("CONSUMER_SEEDS", 0)))]


@pytest.fixture(scope="module")
def store():
    cluster = Cluster(temporary_folder() + "/pg").create().start()
    sql(cluster.connect(), "CREATE EXTENSION millrace")
    yield cluster
    cluster.stop("immediate")


class Message:
    def __init__(self, stream, position, global_position, type):
        self.stream, self.position, self.global_position, self.type = stream, position, global_position, type
        self.done = False  # settled, or given up
        self.gone = False  # deleted by hand

    def __repr__(self):
        return f"{self.stream}:{self.position}@{self.global_position}"


class Claim:
    def __init__(self, messages):
        self.messages = messages
        self.expired = False  # its lease ended, and whoever calls next() takes it over
        self.over = False  # settled, taken over or reset
        self.holder = None  # the connection in which it is settled and not committed


class Model:
    def __init__(self, cluster, seed, ordering):
        self.random, self.cluster, self.ordering = random.Random(seed), cluster, ordering
        self.deletes = seed % 2 == 0  # messages, by hand
        self.connection = cluster.connect()
        self.namespace = new_id()
        sql(self.connection, "SELECT millrace.create_namespace(%s)", self.namespace)
        self.schema = sql(self.connection, "SELECT schema FROM millrace.namespaces WHERE name = %s",
            self.namespace)[0][0]
        self.types = self.random.choice(TYPES)
        self.category = self.random.choice(["a", None])
        names = NAMES[:self.random.choice([1, 3, 8])]
        self.streams = [f"{category}-{name}" for category in "aab" for name in names] + ([]
            if self.category else NAMESAKES * 3)
        options = {"maxAttempts": self.random.choice([1, 3, 10])}
        if ordering == "all":
            options["onPoison"] = self.random.choice(["skip", "stop"])
        else:
            options["onPoison"] = self.random.choice(["park", "park", "skip", "stop"])
        self.call("SELECT millrace.create_consumer('c', category => %s, types => %s, ordering => %s, options => %s, "
            "namespace => %s)",
                  self.category, self.types, ordering, json.dumps(options), self.namespace)
        self.log, self.claims, self.steps = [], {}, []
        self.given, self.floor = 0, 0  # the highest claim's number, and the floor

    # ---- the store ----

    def call(self, statement, *arguments, connection=None):
        return sql(connection or self.connection, statement, *arguments)

    def key(self, message):
        return message.stream if self.ordering == "stream" else ""

    def wanted(self):
        return [message for message in self.log if not message.gone
                and (not self.category or message.stream.startswith("a-"))
                and (self.types is None or message.type in self.types)]

    def open(self):
        return {number: claim for number, claim in self.claims.items() if not claim.over}

    def note_given_up(self):
        skipped = {row[0] for row in self.call(f'SELECT global_position FROM "{self.schema}".consumer_skipped')}
        for message in self.log:
            message.done = message.done or message.global_position in skipped

    def note_taken_over(self):
        there = {row[0] for row in self.call("SELECT claim FROM millrace.consumer_claims_open WHERE namespace = %s",
            self.namespace)}
        for number, claim in self.open().items():
            if number not in there and not claim.holder:
                assert claim.expired, f"claim {number} is lost, and its lease has not ended"
                claim.over = True

    # ---- steps ----

    def append(self):
        stream, type = self.random.choice(self.streams), self.random.choice("TUV")
        row = self.call("SELECT \"position\", global_position FROM millrace.append(%s, %s, '{}', namespace => %s)",
            stream, type, self.namespace)[0]
        self.log.append(Message(stream, *row, type))

    def delete(self):
        """By hand, whatever claim it is in; not a stream's last one, whose position the next append would take."""
        last = {message.stream: message for message in self.log if not message.gone}
        there = [message for message in self.log if not message.gone and message is not last[message.stream]]
        if there:
            message = self.random.choice(there[-20:])
            message.gone = True
            self.call(f'DELETE FROM "{self.schema}".messages WHERE global_position = %s', message.global_position)

    def next(self, most=None):
        most = most or self.random.choice([1, 2, 5, 20])
        request = self.random.choice([None, new_id()])
        rows = self.call(NEXT, most, request, self.namespace)
        if request and self.random.random() < .5:
            again = self.call(NEXT, most, request, self.namespace)
            assert not rows or again == rows, (rows, again)
            rows = again
        self.note_given_up()
        self.note_taken_over()
        if not rows:
            return None
        number = rows[0][0]
        by_place = {message.global_position: message for message in self.log}
        messages = [by_place[row[3]] for row in rows]
        assert {row[0] for row in rows} == {number} and number > self.given, "one claim, with a number that rises"
        assert [(each.stream, each.position, each.type) for each in messages] == [(row[1], row[2], row[4])
            for row in rows]
        assert len(rows) <= most and [row[3] for row in rows] == sorted(row[3] for row in rows)
        self.check_given(messages)
        self.given = number
        self.claims[number] = Claim(messages)
        return number

    def check_given(self, messages):
        held = {self.key(message) for claim in self.open().values() for message in claim.messages}
        before = set()
        for message in messages:
            assert message in self.wanted() and not message.done, f"{message} was settled, or passes no filter"
            assert self.key(message) not in held, f"another has the stream of {message}"
            earlier = {each for each in self.wanted() if self.key(each) == self.key(message) and not each.done
                       and each.global_position < message.global_position}
            assert earlier <= before, f"{earlier - before} before {message}"
            before.add(message)

    def settled_by(self, claim, how, of):
        for message in claim.messages:
            if how == "release" or how == "up_to" and message.global_position > of:
                continue
            if how == "failed" and any(self.key(each) == self.key(message) and
                                       message.global_position >= each.global_position for each in of):
                continue
            assert not message.done, f"{message} is settled twice"
            message.done = True
        claim.over = True

    def settle(self, number, connection=None):
        """Returns what was said, or None for a lost claim."""
        claim = self.claims[number]
        how, of, options = self.random.choice(["all", "all", "failed", "failed", "release", "up_to"]), None, {}
        there = [message for message in claim.messages if not message.gone]
        if how == "failed" and not there:
            how = "all"
        if how == "failed":
            of = self.random.sample(there, min(len(there), self.random.choice([1, 1, 3])))
            options["failed"] = json.dumps([{"stream": each.stream, "position": each.position, "error": "no",
                                             "delayMs": 0, "park": self.random.random() < .1} for each in of])
        elif how == "release":
            options["release"] = True
        elif how == "up_to":
            of = options["up_to"] = self.random.choice(claim.messages).global_position
        names = "".join(f", {name} => %s" for name in options)
        try:
            self.call(f"SELECT millrace.consumer_settle('c', %s{names}, namespace => %s)", number, *options.values(),
                self.namespace,
                      connection=connection)
        except psycopg2.Error as error:
            assert error.pgcode == "MR015", error
            return None
        return how, of

    def settle_one(self):
        free = [number for number, claim in self.open().items() if not claim.holder]
        if not free:
            return
        number = self.random.choice(free)
        said = self.settle(number)
        assert said or self.claims[number].expired, f"claim {number} is lost"
        if said:
            self.settled_by(self.claims[number], *said)
        self.claims[number].over = True

    def settle_late(self):
        over = [number for number, claim in self.claims.items() if claim.over]
        assert not over or not self.settle(self.random.choice(over)), "a claim that is over was settled"

    def settle_open(self):
        """In a transaction that stays open."""
        free = [number for number, claim in self.open().items() if not claim.holder]
        if not free or any(claim.holder for claim in self.claims.values()) and self.random.random() < .5:
            return
        number, connection = self.random.choice(free), self.cluster.connect()
        connection.autocommit = False
        if self.random.random() < .3:
            connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ)
        said = self.settle(number, connection)
        assert said or self.claims[number].expired, f"claim {number} is lost"
        self.claims[number].over = not said
        self.claims[number].holder = said and (connection, said)

    def end(self, commit=None):
        held = [claim for claim in self.claims.values() if claim.holder]
        if not held:
            return
        claim = self.random.choice(held)
        connection, said = claim.holder
        claim.holder = None
        if commit is None and self.random.random() < .6:
            connection.commit()
            self.settled_by(claim, *said)
        else:
            connection.rollback()
        connection.close()

    def expire(self, all=False):
        for number, claim in self.open().items():
            if not claim.holder and not claim.expired and (all or self.random.random() < .3):
                self.call(f"UPDATE \"{self.schema}\".consumer_claims SET lease_until = now() - interval '1 s' WHERE "
                    f"claim = %s", number)
                claim.expired = True

    def grow_old(self):
        self.call(f"UPDATE \"{self.schema}\".consumer_streams SET first_failed = first_failed - interval '1 min', "
            f"retry_at = NULL")

    def unpark(self, most=None):
        self.call("SELECT millrace.consumer_unpark('c', max_streams => %s, namespace => %s)", most, self.namespace)
        self.note_given_up()
        self.note_taken_over()

    def skip(self):
        heads = self.call("SELECT stream, \"position\", global_position FROM millrace.consumer_streams_blocked WHERE "
            "namespace = %s AND parked_at IS NOT NULL",
                          self.namespace)
        if heads:
            stream, position, _ = self.random.choice(heads)
            self.call("SELECT millrace.consumer_skip('c', %s, %s, %s)", stream, position, self.namespace)
            self.note_given_up()
            self.note_taken_over()

    def reset(self):
        """To where all below is settled, so that nothing is settled twice."""
        if any(claim.holder for claim in self.claims.values()):
            return
        left = [message.global_position for message in self.wanted() if not message.done]
        settled_above = [message.global_position for message in self.wanted() if message.done]
        if left and settled_above and max(settled_above) > min(left):
            return
        self.call("SELECT millrace.consumer_reset('c', %s, namespace => %s)", min(left, default=len(self.log) + 1),
            self.namespace)
        for claim in self.claims.values():
            claim.over = True

    def resume(self):
        self.call("SELECT millrace.consumer_resume('c', %s)", self.namespace)

    def check(self):
        floor, ceiling, lag, state = self.call("SELECT floor, ceiling, lag, state FROM millrace.consumer_status WHERE "
            "namespace = %s", self.namespace)[0]
        self.note_given_up()
        left = [message.global_position for message in self.wanted() if not message.done]
        assert self.floor <= floor <= ceiling, (self.floor, floor, ceiling)
        assert floor < min(left, default=floor + 1), (floor, left[:3])
        self.floor = floor
        if state == "stopped":
            self.resume()

    def step(self):
        weights = {self.append: 35, self.next: 25, self.settle_one: 25, self.expire: 4, self.settle_open: 4,
                   self.end: 4, self.settle_late: 1, self.grow_old: 2, self.unpark: 1, self.skip: 1, self.reset: .3}
        if self.deletes:
            weights[self.delete] = 2
        done = self.random.choices(list(weights), list(weights.values()))[0]
        self.steps.append(done.__name__)
        done()
        self.check()

    def drain(self):
        while any(claim.holder for claim in self.claims.values()):
            self.end(commit=False)
        for _ in range(2000):
            self.expire(all=True)
            self.call(f'UPDATE "{self.schema}".consumer_streams SET retry_at = NULL WHERE retry_at IS NOT NULL')
            self.unpark()
            self.check()
            number = self.next(100)
            if number:
                self.call("SELECT millrace.consumer_settle('c', %s, namespace => %s)", number, self.namespace)
                self.settled_by(self.claims[number], "all", None)
            elif all(message.done for message in self.wanted()):
                return
        raise AssertionError(f"not given: {[message for message in self.wanted() if not message.done][:5]}")

    def check_nothing_left(self):
        tables = [self.call(f'SELECT count(*) FROM "{self.schema}".{table}')[0][0] for table in ("consumer_streams",
            "consumer_claims")]
        floor, ceiling, lag = self.call("SELECT floor, ceiling, lag FROM millrace.consumer_status WHERE namespace = %s",
            self.namespace)[0]
        assert (tables, lag, floor) == ([0, 1], 0, ceiling)


@pytest.mark.parametrize("ordering", ["stream", "all"])
@pytest.mark.parametrize("seed", seeds())
def test_every_message_is_settled_once_in_order(store, seed, ordering):
    model = Model(store, seed, ordering)
    try:
        for _ in range(STEPS):
            model.step()
        model.drain()
        model.check_nothing_left()
    except (AssertionError, psycopg2.Error) as error:
        raise AssertionError(f"seed {seed}, after {' '.join(model.steps[-12:])}: {error}") from error
    finally:
        model.connection.close()
    assert len(model.claims) > 20 and sum(message.done for message in model.log) > 30
