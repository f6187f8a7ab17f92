"""Nothing is looked up in a catalogue under the append lock: a session that waits there for another's lock of a
catalogue stops every writer, beyond all timeouts."""
import threading

from store import sql, wait_until

APPEND = "SELECT millrace.append(%s, 'T', '{}')"


def try_to_append(connection, stream, outcomes):
    try:
        outcomes.append(sql(connection, APPEND, stream))
    except Exception as error:  # noqa: BLE001  whatever it is
        outcomes.append(str(error))


def check_that_writers_time_out(cluster, prepare, catalogue):
    """While another session locks a catalogue; `prepare` gets a connection and takes from the writers what they have
    looked up."""
    admin, holder = cluster.connect(), cluster.connect()
    sql(admin, "CREATE EXTENSION millrace")
    sql(admin, "SELECT millrace.create_namespace('default')")
    writers = [cluster.connect() for _ in range(2)]
    for writer in writers:
        sql(writer, APPEND, 'a-1')
        sql(writer, "SET lock_timeout = '300ms'")
    prepare(admin)
    sql(holder, "BEGIN")
    sql(holder, f"LOCK TABLE pg_catalog.{catalogue} IN ACCESS EXCLUSIVE MODE")
    outcomes = []
    threads = [
        threading.Thread(target=try_to_append, args=(writer, f"w-{n}", outcomes)) for n, writer in enumerate(writers)
    ]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(outcomes) == 2, "an end of both appends")
    finally:
        sql(holder, "COMMIT")
        for thread in threads:
            thread.join()
    return outcomes


def test_a_sequence_that_is_not_known_any_more(cluster):
    outcomes = check_that_writers_time_out(
        cluster,
        lambda admin: sql(admin, "GRANT SELECT ON SEQUENCE millrace_default.messages_global_position_seq TO PUBLIC"),
        "pg_class")
    assert all("lock timeout" in outcome for outcome in outcomes), outcomes


def test_a_sequence_that_is_behind(cluster):
    def put_behind(admin):
        sql(
            admin,
            "INSERT INTO millrace_default.messages (global_position, position, stream_name, type, data) "
            "VALUES (1000, 0, 'b-1', 'T', '{}')"
        )
        sql(admin, "SELECT pg_sleep(1.1)")  # a session looks for it once a second

    outcomes = check_that_writers_time_out(cluster, put_behind, "pg_namespace")
    assert all("lock timeout" in outcome for outcome in outcomes), outcomes
