"""A member by SQL: the effects are written in the transaction that settles, so each is there exactly once.

Where the connection is lost it goes through that transaction again; a claim that is lost then may be its own of before.
"""
import json
import time
import uuid

import psycopg2
from member import LEASE, Member, Message

CLAIM_LOST = "MR015"
LOST = ("57P01", "57P02", "57P03", "08006", "08003", "08001", None)  # the connection, with or without a word
AGAIN = ("40001", "40P01")

NEXT = ("SELECT claim, stream_name, type, \"position\", global_position, attempt "
        "FROM millrace.consumer_next(%s, max => %s, member => %s, request => %s)")
SETTLE = "SELECT millrace.consumer_settle(%s, %s, failed => %s, release => %s, up_to => %s)"
EFFECTS = ("INSERT INTO effects (consumer, claim, global_position, member) "
           "SELECT %s, %s, p, %s FROM unnest(%s::bigint[]) WITH ORDINALITY AS done(p, n) ORDER BY n")


class SqlMember(Member):
    def __init__(self):
        super().__init__()
        self.connection, self.request = None, None

    def sql(self, statement, *arguments):
        if self.connection is None:
            self.connection = psycopg2.connect(f"{self.conninfo} application_name='{self.name}' connect_timeout=10")
            self.connection.autocommit = True
        with self.connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def forgive(self, error):
        """Out of what failed; an error that nothing here explains is one of the run's."""
        if isinstance(error, psycopg2.InterfaceError) or error.pgcode in LOST:
            connection, self.connection = self.connection, None
            if connection is not None:
                connection.close()
            time.sleep(0.1)
        elif error.pgcode not in AGAIN:
            raise error
        else:
            self.sql("ROLLBACK")

    def step(self):
        self.request = self.request or str(uuid.uuid4())  # again after a lost answer
        try:
            rows = self.sql(NEXT, self.consumer, self.how_many(), self.name, self.request)
        except psycopg2.Error as error:
            self.forgive(error)
            return
        self.request = None
        if not rows:
            time.sleep(0.05 + self.random.random() * 0.2)
            return
        self.extend(rows[0][0])
        self.settle(self.work(rows[0][0], [Message(*row[1:]) for row in rows]))

    def extend(self, claim):
        """At times the lease begins anew."""
        if self.random.random() < 0.05:
            try:
                self.sql("SELECT millrace.consumer_extend(%s, %s)", self.consumer, claim)
            except psycopg2.Error as error:
                if error.pgcode != CLAIM_LOST:
                    self.forgive(error)

    def settle(self, settlement):
        sure = True  # that no earlier attempt settled it
        while True:
            try:
                self.transaction(settlement)
                return
            except psycopg2.Error as error:
                if error.pgcode == CLAIM_LOST:
                    self.file.write(lost=settlement.claim, sure=sure)
                    self.connection.close()
                    self.connection = None
                    return
                self.forgive(error)
                sure = sure and error.pgcode in AGAIN

    def transaction(self, settlement):
        failed = json.dumps(settlement.failed) if settlement.failed else None
        self.sql(f"BEGIN ISOLATION LEVEL {self.isolation}")
        if self.random.random() < 0.1:
            self.sql("SELECT count(*) FROM effects WHERE seq = 1")  # an older snapshot
            time.sleep(self.random.random() * 0.2)
        self.sql(SETTLE, self.consumer, settlement.claim, failed, settlement.release, settlement.up_to)
        chance = self.random.random()
        time.sleep(LEASE * 1.3 if chance < 0.003 else 0.2 * self.random.random() if chance < 0.2 else 0)
        self.sql(EFFECTS, self.consumer, settlement.claim, self.name, settlement.done)
        self.sql("COMMIT")


if __name__ == "__main__":
    SqlMember().run()
