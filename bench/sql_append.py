"""Appends by SQL beside plain INSERTs into the same kind of table.

Two namespaces, so two tables with the same columns, indexes and content. The plain INSERT gets its position from a
sequence, as nothing else gives concurrent clients positions that no two of them share; ids and times are the table's
defaults.
"""
from measure import DATA, STREAMS, Pgbench, at_least, database, durable_postgres, medians, row, sql

CLIENTS = (1, 10, 32)
BATCH, BULK = 100, 100000

APPEND = """\\set s random(1, 100)
SELECT * FROM millrace.append('account-' || :s, 'Deposited', :data);
"""
INSERT = """\\set s random(1, 100)
INSERT INTO {table} (stream_name, position, type, data)
    VALUES ('account-' || :s, nextval('plain_position'), 'Deposited', :data);
"""
APPEND_BATCH = f"""\\set s random(1, 100)
SELECT * FROM millrace.append_messages('account-' || :s,
    ARRAY(SELECT ROW('Deposited', :data::jsonb, NULL, NULL)::millrace.new_message FROM generate_series(1, {BATCH})));
"""
INSERT_BULK = """INSERT INTO {table} (stream_name, position, type, data)
    SELECT 'account-' || 1 + n % 100, nextval('plain_position'), 'Deposited', :data::jsonb
    FROM generate_series(1, {rows}) n;
"""
FILL = """INSERT INTO {table} (stream_name, position, type, data)
    SELECT '{category}-' || 1 + n % {streams}, n / {streams}, 'Deposited', '{data}' FROM generate_series(0, 99999) n"""

# By `append`, whose ids rise: among random ones they would land in the middle of an index, whose pages split in halves
# there.
FILL_BY_APPEND = """SELECT count(*) FROM generate_series(0, 99999) n,
    LATERAL millrace.append('{category}-' || 1 + n % {streams}, 'Deposited', '{data}')"""


def fill_by_append(connection, category="account"):
    """The same in the namespace of the connection."""
    sql(connection, FILL_BY_APPEND.format(category=category, streams=STREAMS, data=DATA))


def fill(connection, table, category="account"):
    sql(connection, FILL.format(table=table, category=category, streams=STREAMS, data=DATA))


def plain_position(connection):
    """The sequence of the plain INSERT, above what FILL has used."""
    sql(connection, "CREATE SEQUENCE plain_position CACHE 100 START 1000000")


def single(options, bench, checkpoint):
    rows = []
    for clients in CLIENTS:
        found = medians(
            options.rounds, append=lambda: checkpoint() or bench.rate(APPEND, clients, options.seconds), insert=lambda:
            checkpoint() or bench.rate(INSERT.format(table="millrace_plain.messages"), clients, options.seconds))
        ratio = found["append"] / found["insert"]
        rows.append(row("one message: `append` / `INSERT`", clients, found["append"], found["insert"], ratio,
                        checks=[at_least(f"append / INSERT, {clients} clients", ratio, 0.9)]))
    return rows


def batches(options, bench, checkpoint):
    def insert(rows, **length):
        return lambda: checkpoint() or rows * bench.rate(INSERT_BULK.format(table="millrace_plain.messages", rows=rows),
                                                         1, **length)

    found = medians(options.rounds, append=lambda: checkpoint() or BATCH * bench.rate(APPEND_BATCH, 1, options.seconds),
                    bulk=insert(BULK, transactions=max(1, round(options.seconds / 2))),
                    hundred=insert(BATCH, seconds=options.seconds))
    to_bulk, to_hundred = found["append"] / found["bulk"], found["append"] / found["hundred"]
    return [
        row(f"{BATCH} messages: `append_messages` / `INSERT ... SELECT` of {BULK:,}", 1, found["append"], found["bulk"],
            to_bulk, checks=[at_least("append_messages of 100 / bulk INSERT ... SELECT", to_bulk, 0.6)]),
        row(f"the same / `INSERT ... SELECT` of {BATCH}", 1, found["append"], found["hundred"], to_hundred)
    ]


def measure(options):
    with durable_postgres() as cluster:
        connection = database(cluster, "append")
        for name in ("default", "plain"):
            sql(connection, f"SELECT millrace.create_namespace('{name}')")
        fill_by_append(connection)
        fill(connection, "millrace_plain.messages")
        plain_position(connection)
        sql(connection, "VACUUM ANALYZE")
        bench = Pgbench(cluster, "append")

        def checkpoint():
            sql(connection, "CHECKPOINT")

        return {
            "title": "Appends by SQL",
            "about": "Messages a second, by pgbench, prepared, 300 bytes of data as a parameter, "
                     "100 streams of one category; a checkpoint before each. Right of `append` the plain "
                     "INSERT into a table with the same columns, indexes and content; "
                     "its positions come from a sequence that each session caches 100 numbers of.",
            "columns": ["what", "clients", "Millrace /s", "plain /s",
                        "ratio"], "rows": [*single(options, bench, checkpoint), *batches(options, bench, checkpoint)]
        }
