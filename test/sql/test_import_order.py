"""An import puts its entries into indexes in the order of each: the trees stay whole, and what is taken is found."""
import hashlib
import random
import struct
import threading
import uuid

import psycopg2
import pytest

from bringing import frame, record
from store import Cluster, need_library, sql, wait_until

# The lengths are those up to which an entry tells a name's with one byte, and up to which it has none compressed.
NAMES = ["a", "a-1", "a-2", "a!x", "a.b-1", "b", "b-", "b-10", "b-9", "ä-1", "c" * 300 + "-1",
         *("d" * length for longest in (126, 506) for length in (longest, longest + 1))]


@pytest.fixture
def schema(namespace):
    return "millrace_" + namespace


def bring(connection, namespace, records):
    return sql(connection, "SELECT imported, failed_record, sqlstate FROM millrace.import_batch(%s, %s)", namespace,
               frame(records))[0]


def keys(row):
    return [("id", row[0]), ("stream", row[1], row[2]), ("global", row[3])]


def first_taken(taken, rows):
    """The number of the first row of which a key is there already, or is an earlier one's."""
    seen = set(taken)
    for number, row in enumerate(rows):
        if any(key in seen for key in keys(row)):
            return number
        seen.update(keys(row))
    return None


def check_trees(connection, schema):
    """Every row has its entry, every entry is where a descent finds it."""
    need_library("amcheck")
    sql(connection, "CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA public")
    checked = sql(
        connection, "SELECT public.bt_index_parent_check(indexrelid, true, true) FROM pg_index JOIN pg_class c ON "
        "c.oid = indexrelid JOIN pg_am a ON a.oid = c.relam WHERE indrelid = (%s || '.messages')::regclass AND "
        "amname = 'btree'", schema)
    assert len(checked) == 4


def made_rows(rng, count, room, stored):
    """Rows with keys from a small room; few of them are those of stored ones."""
    rows = []
    for _ in range(count):
        old = rng.choice(stored) if stored and rng.random() < 0.0005 else None
        rows.append((old[0] if old and rng.random() < 0.5 else uuid.UUID(int=rng.getrandbits(128)), rng.choice(NAMES),
                     rng.randrange(room), old[3] if old and rng.random() < 0.5 else rng.randrange(1, room)))
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_what_is_taken_is_found_and_the_trees_stay_whole(connection, namespace, schema, seed):
    rng = random.Random(seed)
    taken, stored = set(), []
    verdicts = {True: 0, False: 0}
    for step in range(60):
        room = 10**9 if step % 4 else 10**9 + step * 1000
        rows = made_rows(rng, rng.choice([1, 2, 10, 300, 999, 4500]), room, stored)
        if step % 3 == 0:  # as an export has them: behind what is there, stream by stream upward
            base = 2 * 10**9 + step * 10**6
            rows = [(row[0], row[1], base + n, base + 2 * n) for n, row in enumerate(rows)]
        failed = first_taken(taken, rows)
        kept = rows if failed is None else rows[:failed // 1000 * 1000]
        assert bring(connection, namespace, rows)[:2] == (len(kept), failed), step
        verdicts[failed is None] += 1
        stored += kept
        for row in kept:
            taken.update(keys(row))
        if step % 10 == 9 and stored:  # entries of dead rows stay where they are
            gone = stored.pop(rng.randrange(len(stored)))
            sql(connection, f"DELETE FROM {schema}.messages WHERE id = %s", str(gone[0]))
            taken.difference_update(keys(gone))
            assert bring(connection, namespace, [gone]) == (1, None, None)
            stored.append(gone)
            taken.update(keys(gone))
    assert verdicts[True] > 20 and verdicts[False] > 0
    check_trees(connection, schema)
    assert sql(connection, f"SELECT count(*) FROM {schema}.messages") == [(len(stored),)]


def test_what_is_taken_is_found_beside_names_that_the_index_has_compressed(connection, namespace, schema):
    names = [f"x-{n:03}" + "-" * 600 * (n % 7 == 0) for n in range(800)]
    rows = [(uuid.uuid4(), name, 0, n + 1) for n, name in enumerate(names)]
    assert bring(connection, namespace, rows) == (len(rows), None, None)
    for n in range(1, 800, 2):  # a new name, and behind it one that is there
        rows = [(uuid.uuid4(), names[n - 1] + "!", 0, 2000 + n), (uuid.uuid4(), names[n], 0, 2001 + n)]
        assert bring(connection, namespace, rows) == (0, 1, "MR013"), n
    check_trees(connection, schema)


def entries_of(connection, index):
    """Of all leaves: the row of each, and what pageinspect tells of its bytes."""
    return sorted(
        sql(connection, """SELECT htid::text, itemlen, nulls, vars, data
            FROM generate_series(1, pg_relation_size(%s) / current_setting('block_size')::int - 1) page,
                public.bt_page_stats(%s, page::int) stats, public.bt_page_items(%s, page::int)
            WHERE stats.type = 'l' AND (itemoffset > 1 OR stats.btpo_next = 0)""", index, index, index))


@pytest.mark.parametrize("how", ["imported", "appended"])
def test_an_entry_has_the_bytes_that_postgresql_gives_it(connection, namespace, schema, how):
    need_library("pageinspect")
    sql(connection, "CREATE EXTENSION IF NOT EXISTS pageinspect SCHEMA public")
    if how == "imported":
        rows = [(uuid.uuid4(), name, n, len(NAMES) * n + at + 1) for n in range(5) for at, name in enumerate(NAMES)]
        assert bring(connection, namespace, rows) == (len(rows), None, None)
    else:
        for name in NAMES:
            sql(connection, "SELECT millrace.append_messages(%s, ARRAY(SELECT ROW('T', '{}', NULL, NULL)"
                "::millrace.new_message FROM generate_series(1, 5)), namespace => %s)", name, namespace)
    for index in ("messages_pkey", "messages_id", "messages_stream", "messages_category"):
        ours = entries_of(connection, f"{schema}.{index}")
        sql(connection, f"REINDEX INDEX {schema}.{index}")
        assert len(ours) == 5 * len(NAMES) and ours == entries_of(connection, f"{schema}.{index}"), index


def test_what_is_rolled_back_can_be_brought_again(connection, namespace, schema):
    rows = [(uuid.UUID(int=n), f"s-{n % 7}", n, n) for n in range(1, 900)]
    for _ in range(3):
        sql(connection, "BEGIN")
        assert bring(connection, namespace, rows) == (899, None, None)
        sql(connection, "ROLLBACK")
    assert bring(connection, namespace, rows) == (899, None, None)
    assert bring(connection, namespace, rows) == (0, 0, "MR013")
    check_trees(connection, schema)


def test_recovery_makes_the_same_pages_again(folder):
    """It compares each page with the one that was logged, and ends where they differ."""
    cluster = Cluster(folder + "/pg", ["wal_consistency_checking=all"]).create().start()
    rng = random.Random(0)
    try:
        connection = cluster.connect()
        sql(connection, "CREATE EXTENSION millrace; SELECT millrace.create_namespace('n')")
        for first, count in ((1, 1000), (1001, 1000), (2001, 5000), (7001, 1000)):
            rows = [(uuid.UUID(int=rng.getrandbits(128)), rng.choice(NAMES), n, n) for n in range(first, first + count)]
            assert bring(connection, "n", rows) == (count, None, None)
        cluster.stop("immediate")
        cluster.start()
        check_trees(cluster.connect(), "millrace_n")
    finally:
        cluster.stop("immediate")


def test_a_table_in_another_collation_is_filled_as_well(connection, namespace, schema):
    if not sql(connection, "SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'"):
        pytest.skip("this server was built without ICU")
    sql(connection, f"ALTER TABLE {schema}.messages ALTER stream_name TYPE text COLLATE \"und-x-icu\"")
    rows = [(uuid.UUID(int=n), NAMES[n % len(NAMES)], n, n) for n in range(1, 2000)]
    for first in range(0, 2000, 500):
        assert bring(connection, namespace, rows[first:first + 500])[1] is None
    check_trees(connection, schema)


@pytest.mark.parametrize("at", [0, 999, 1000, 2100, 3999, 4000, 6100])
@pytest.mark.parametrize("fault, sqlstate", [({"time": 2**63 - 1}, "MR014"), ({"global_position": 2**61}, "MR013")])
def test_batches_before_the_one_that_is_refused_are_stored(connection, namespace, schema, fault, sqlstate, at):
    assert bring(connection, namespace, [(uuid.UUID(int=0), "t", 0, 2**61)]) == (1, None, None)
    rows = [{"id": uuid.UUID(int=n), "stream": "s", "position": n, "global_position": n} for n in range(1, 6501)]
    rows[at].update(fault)
    kept = at // 1000 * 1000
    assert bring(connection, namespace, [tuple(row.values()) for row in rows]) == (kept, at, sqlstate)
    assert sql(connection, f"SELECT count(*), coalesce(max(global_position), 0) FROM {schema}.messages "
               "WHERE stream_name = 's'") == [(kept, kept)]
    check_trees(connection, schema)


def test_of_faults_in_several_batches_the_first_is_told(connection, namespace, schema):
    rows = [[uuid.UUID(int=n), "s", n, n, 0] for n in range(1, 4001)]
    rows[3100][4] = 2**63 - 1  # found while it is read
    rows[2500][0] = rows[3][0]  # found when the part before it is looked for
    rows[1800][3] = rows[0][3]
    assert bring(connection, namespace, rows) == (1000, 1800, "MR013")
    rows[1800][3] = 1801
    assert bring(connection, namespace, rows[1000:]) == (1000, 1500, "MR013")
    rows[2500][0] = uuid.UUID(int=2501)
    assert bring(connection, namespace, rows[2000:]) == (1000, 1100, "MR014")
    assert sql(connection, f"SELECT count(*) FROM {schema}.messages") == [(3000,)]


@pytest.mark.parametrize("end, found", [("COMMIT", "23505"), ("ROLLBACK", None)])
def test_an_id_that_comes_after_it_was_looked_for_is_found(connection, another, namespace, schema, end, found):
    """The entries of ids come last: what another transaction stored in between is there by then."""
    holder, importer, watcher = another(), another(), another()
    sequence = sql(watcher, "SELECT pg_get_serial_sequence(%s, 'global_position')", f"{schema}.messages")[0][0]
    rows = [(uuid.UUID(int=n), "s", n, n + 1000) for n in range(1, 1501)]
    failed = []

    def run():
        try:
            bring(importer, namespace, rows)
        except psycopg2.Error as error:
            failed.append(error.pgcode)

    sql(holder, "BEGIN")
    sql(holder, f"ALTER SEQUENCE {sequence} CACHE 1")  # an import looks for ids before it opens the sequence
    thread = threading.Thread(target=run)
    thread.start()
    waits = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted AND locktype = 'relation'"
    wait_until(lambda: sql(watcher, waits, importer.info.backend_pid) == [(1,)], "the import to wait")
    sql(holder, f"INSERT INTO {schema}.messages (global_position, position, time, stream_name, type, data, id) "
        "VALUES (1, 0, now() AT TIME ZONE 'utc', 'other', 'T', '{}', %s)", str(rows[700][0]))
    sql(holder, end)
    thread.join()
    assert failed == ([found] if found else [])
    assert sql(watcher, f"SELECT count(*) FROM {schema}.messages") == [(1 if found else 1500,)]
    check_trees(watcher, schema)


def test_a_fault_that_is_found_later_and_lies_before_is_the_one(connection, namespace, schema):
    rows = [[uuid.UUID(int=n), "s", n, n, 0] for n in range(1, 2501)]
    rows[2100][4] = 2**63 - 1
    rows[1500][0] = rows[3][0]
    assert bring(connection, namespace, rows) == (1000, 1500, "MR013")
    rows[400][0] = rows[3][0]
    sql(connection, f"TRUNCATE {schema}.messages")
    assert bring(connection, namespace, rows) == (0, 400, "MR013")
    assert sql(connection, f"SELECT count(*) FROM {schema}.messages") == [(0,)]


def held_before(another, namespace, first, second, base, number):
    """How many streams an import of a number of messages of the one, and then one of the other, has while it waits."""
    holder, importer, watcher = another(), another(), another()
    pid = importer.info.backend_pid
    sql(holder, "BEGIN")
    sql(holder, "SELECT millrace.append(%s, 'T', '{}')", second)
    names = [first] * number + [second]
    rows = [(uuid.uuid4(), name, base + n, base + n) for n, name in enumerate(names)]
    thread = threading.Thread(target=bring, args=(importer, namespace, rows))
    thread.start()
    locks = "SELECT count(*) FROM pg_locks WHERE pid = %s AND locktype = 'advisory' AND objsubid = x'4D53'::int AND "
    wait_until(lambda: sql(watcher, locks + "NOT granted", pid) == [(1,)], "the import to wait")
    held = sql(watcher, locks + "granted", pid)[0][0]
    sql(holder, "ROLLBACK")
    thread.join()
    return held


@pytest.mark.parametrize("number", [1000, 4000])
def test_streams_of_all_batches_are_locked_in_one_order(connection, another, namespace, schema, number):
    """Whichever comes first in it, it is the same one, or two imports could deadlock."""
    held = [held_before(another, namespace, *names, number) for names in (("p", "q", 1000), ("q", "p", 10000))]
    assert sum(held) == 1
    assert sql(connection, f"SELECT count(*) FROM {schema}.messages") == [(2 * number + 2,)]


@pytest.mark.parametrize("first, between", [("floor", 0), ("floor", 1500), ("floor", 4500), ("message", 0),
                                            ("message", 1500)])
def test_a_floor_counts_wherever_it_stands_in_a_frame(connection, namespace, schema, first, between):
    """A message that comes back below it hides it from nobody: no version is used twice."""
    floor = b"\1" + hashlib.sha256(b"s").digest()[:16] + struct.pack(">qB", 100, 0)
    others = [record(uuid.UUID(int=n), "other", n, n) for n in range(1, between + 1)]
    below = record(uuid.UUID(int=10**6), "s", 50, 10**6)
    records = [floor, *others, below] if first == "floor" else [below, *others, floor]
    brought = sql(connection, "SELECT imported, failed_record FROM millrace.import_batch(%s, %s)", namespace,
                  b"\2" + struct.pack(">I", len(records)) + b"".join(records))
    assert brought == [(between + 1, None)]
    assert sql(connection, "SELECT position FROM millrace.append('s', 'T', '{}')") == [(101,)]
