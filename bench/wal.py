"""Bytes of WAL for each message, of all ways to write one."""
from measure import at_most, load, row, sql
from message_db import TABLE, WRITE, both_sides
from sql_append import fill, fill_by_append

CLIENTS = 10
OURS = HTTP, SQL = "HTTP `stream.write`", "`millrace.append`"
THEIRS = "Message DB's `write_message`"
APPEND = """\\set s random(0, 99)
SELECT * FROM millrace.append('load-' || :s, 'Loaded', :data);
"""


class Wal:
    def __init__(self, options, sides):
        self.options, self.sides = options, sides
        self.messages = 0  # how many every way is to write: set by the first

    def full_page_writes(self, value):
        sql(self.sides.connection, f"ALTER SYSTEM SET full_page_writes = {value}")
        sql(self.sides.connection, "SELECT pg_reload_conf()")
        self.sides.checkpoint()  # by the checkpointer

    def count(self):
        return sum(sql(connection, f"SELECT count(*) FROM {TABLE}")[0][0] for connection in self.sides.connections)

    def position(self):
        return int(sql(self.sides.connection, "SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0])

    def refill(self, ours):
        """The same tables for every way, and filled in that way: full leaves at the same places in the same indexes."""
        for connection in self.sides.connections:
            sql(connection, f"TRUNCATE {TABLE} RESTART IDENTITY")
            if ours and connection == self.sides.connection:
                fill_by_append(connection, "load")
            else:
                fill(connection, TABLE, "load")
            sql(connection, f"VACUUM ANALYZE {TABLE}")

    def each(self, write, ours=False):
        """Bytes for each message that was written."""
        self.refill(ours)
        stored = self.count()
        self.sides.checkpoint()
        before = self.position()
        write()
        bytes_written = self.position() - before
        stored = self.count() - stored
        self.messages = self.messages or stored
        return bytes_written / stored

    def http(self):
        with self.sides.http() as server:
            return self.each(lambda: load(server, CLIENTS, self.options.seconds, "--mix", "1:0", "--warmup", 0),
                             ours=True)

    def pgbench(self, bench, script, **how):
        return self.each(lambda: bench.rate(script, CLIENTS, transactions=max(1, self.messages // CLIENTS)), **how)

    def all(self):
        found = {
            HTTP: self.http(), SQL: self.pgbench(self.sides.ours, APPEND, ours=True),
            "plain `INSERT`": self.pgbench(self.sides.ours,
                                           self.sides.insert().replace("account", "load"))
        }
        if self.sides.theirs:
            found[THEIRS] = self.pgbench(self.sides.theirs, WRITE)
        return found


def measure(options):
    with both_sides() as sides:
        wal = Wal(options, sides)
        with_images = wal.all()
        wal.full_page_writes("off")
        without = wal.all()
    rows = []
    for name, value in with_images.items():
        checks = []
        if THEIRS in with_images and name in OURS:
            plain = name.replace("`", "")  # a whole byte less than theirs
            checks = [
                at_most(f"WAL bytes a message, {plain}: after a checkpoint", value,
                        round(with_images[THEIRS]) - 1),
                at_most(f"WAL bytes a message, {plain}: without images", without[name],
                        round(without[THEIRS]) - 1)
            ]
        rows.append(row(name, value, without[name], checks=checks))
    return {
        "title": "WAL for each message",
        "about": f"Bytes, over {wal.messages:,} messages of 300 bytes from {CLIENTS} clients after a checkpoint, into "
                 "a new table with 100,000 messages in the same streams, filled in the same way, the same number for "
                 "each. The smaller the number of messages, the larger the share of the full page images that follow "
                 "a checkpoint: the second figure is without them.",
        "columns": ["what", "bytes", "bytes, `full_page_writes = off`"],
        "rows": rows, **({} if THEIRS in with_images else {
                             "skipped": "Message DB could not be fetched, so there is nothing to compare with"
                         })
    }
