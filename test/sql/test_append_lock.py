"""A session that has the append lock waits for nothing: for no client, for no transaction, for no other page, and not
for long."""
import socket
import struct
import threading
from concurrent.futures import Future

import psycopg2
import pytest

from store import new_id, sql, wait_until

CLIENTS = 8
# 6,400 bytes that no index has room for.
LONG = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 200) AS n)"
# The message is refused before the append lock is taken.
A_NAME = ("SELECT message_store.write_message(gen_random_uuid()::varchar, "
          f"('@' || {LONG})::varchar, 'T'::varchar, '{{}}')")
# A further column of an index makes its entry too large: that is found when it is put in, under the append lock.
AN_ENTRY = ("SELECT millrace.append_messages('a-@', "
            f"ARRAY[(left({LONG}, 1900), '{{}}', NULL, NULL)]::millrace.new_message[])")
# So does a user's own index, whose entries come behind the append lock; but it keeps its page.
A_TYPE = f"SELECT message_store.write_message(gen_random_uuid()::varchar, 'a-@', {LONG}::varchar, '{{}}')"
OWN = "CREATE INDEX own ON message_store.messages (type)"
WIDE = ("CREATE INDEX wide ON message_store.messages (message_store.category(stream_name), global_position, type, "
        f"(type || left({LONG}, 1000)))")


def in_background(connection, statement, *arguments):
    """A Future of a statement; a session that hangs hangs no test."""
    future = Future()

    def run():
        try:
            future.set_result(sql(connection, statement, *arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class Deaf:
    """A client that sends statements one behind the other, and reads no answer."""

    def __init__(self, cluster, statement, number):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(f"{cluster.folder}/.s.PGSQL.5432")
        self.name = new_id()
        parameters = b"user\0tester\0database\0postgres\0application_name\0" + self.name.encode() + b"\0\0"
        self.socket.sendall(struct.pack(">II", 8 + len(parameters), 196608) + parameters)
        statement = statement.replace("@", str(number))  # a stream of its own: its lock is held to the end
        self.query = b"Q" + struct.pack(">I", 5 + len(statement)) + statement.encode() + b"\0"
        self.number = number
        threading.Thread(target=self.send, daemon=True).start()

    def send(self):
        try:
            # The kernel is full at another byte for each of them: in an error for some, between two for others.
            self.socket.sendall(b"Q\0\0\0\x0dSELECT 1\0" * self.number)
            while True:
                self.socket.sendall(self.query)
        except OSError:
            pass


@pytest.fixture
def database(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.install_message_db()")
    return cluster


@pytest.mark.parametrize("statement, others", [(A_NAME, []), (AN_ENTRY, [WIDE]), (A_TYPE, [OWN])],
                         ids=["a name", "an entry", "an entry of a user's own index"])
def test_clients_that_read_no_error_stop_no_others(database, statement, others):
    connection = database.connect()
    for other in others:
        sql(connection, other.replace(LONG, "'" + "".join(f"{n:032x}" for n in range(200)) + "'"))
    with pytest.raises(psycopg2.Error, match="exceeds btree"):
        sql(connection, statement)
    clients = [Deaf(database, statement, number) for number in range(CLIENTS)]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = ANY (%s) AND wait_event = 'ClientWrite'"
    wait_until(lambda: sql(connection, waiting, [client.name for client in clients])[0][0] == CLIENTS,
               "all of them to wait for their client")
    assert in_background(database.connect(),
                         "SELECT \"position\" FROM millrace.append('b-1', 'T', '{}')").result(timeout=30) == [(0, )]


def test_large_messages_do_not_hold_the_append_lock_for_all_of_a_call(database):
    main, other = database.connect(), database.connect()
    sql(main, "ALTER TABLE message_store.messages ALTER data SET STORAGE EXTERNAL")
    large = in_background(
        main,
        "SELECT global_position, last_global_position FROM millrace.append_messages('a-1', "
        "(SELECT array_agg(('T', jsonb_build_object('x', repeat('x', 1000000)), NULL, NULL)::millrace.new_message) "
        "FROM generate_series(1, 300)))"
    )
    small = []
    while not large.done():
        small += sql(other, "SELECT global_position FROM millrace.append('b-1', 'T', '{}')")
    ((first, last),) = large.result()
    assert any(first < position < last for position, in small), (first, last, len(small))


A_WAITING = {
    "id": ("SELECT millrace.append('a-1', 'T', '{}', id => %s)", "SELECT millrace.append('b-1', 'T', '{}', id => %s)",
           "MR002"),
    "row": (
        "INSERT INTO message_store.messages (stream_name, position, type, data, id) VALUES ('c-1', 5, 'T', '{}', %s)",
        "SELECT millrace.append('c-1', 'T', '{}') WHERE %s IS NOT NULL", "23505"),
}


@pytest.mark.parametrize("what", A_WAITING)
def test_an_append_that_waits_for_a_transaction_lets_vacuum_go_on(database, what):
    one, other, third, watch = (database.connect() for _ in range(4))
    # Something to do for VACUUM, which leaves a page of the table alone that another session has pinned, and waits for
    # one of an index.
    sql(one, "BEGIN")
    sql(one, "SELECT count(millrace.append('d-1', 'T', '{}')) FROM generate_series(1, 50)")
    sql(one, "ROLLBACK")
    sql(one, "SELECT count(millrace.append('d-2', 'T', '{}')) FROM generate_series(1, 200)")
    sql(one, "SELECT count(millrace.append('c-1', 'T', '{}')) FROM generate_series(1, 5)")
    first, second, refused = A_WAITING[what]
    message = new_id()
    sql(other, "BEGIN")
    sql(other, first, message)
    append = in_background(one, second, message)
    wait_until(lambda: sql(watch, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'transactionid'"),
               "the append to wait")
    vacuum = in_background(third, "VACUUM (INDEX_CLEANUP ON) message_store.messages")
    wait_until(lambda: vacuum.done() or sql(watch, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'BufferPin'"),
               "VACUUM to end, or to wait")
    alter = in_background(
        other, "ALTER TABLE message_store.messages SET (fillfactor = 90)")  # waits for VACUUM, and not for appends
    vacuum.result(timeout=30)
    alter.result(timeout=30)
    sql(other, "COMMIT")
    assert append.exception(timeout=30).pgcode == refused
