"""Rows of Message DB's reads, and pages of messages as JSON, reach the client as the very bytes that Postgres itself
would send, whatever the client asks for."""
import shutil
import socket
import struct

import psycopg2
import pytest

from certificates import common_certificate
from store import Cluster, free_port, sql, temporary_folder, wait_until

READ = "SELECT * FROM message_store.get_category_messages('w', 1, -1)"
LIMITED = READ + " LIMIT 1000000"  # the plan is more than the node, so Postgres sends the rows
COLUMNS = 8
PAGES = [
    "json_read_category('pages', 'w', 1, 1000, NULL, NULL, NULL, NULL, 100000000)",
    "json_read_category('pages', 'w', 1, 1000, NULL, NULL, NULL, NULL, 300)",
    "json_read_category('pages', '', NULL, 2, NULL, NULL, NULL, ARRAY['T1'], 1000000, 'backward')",
    "json_read_category('pages', 'none', 1, 10, NULL, NULL, NULL, NULL, 1000)",
    "json_read_stream('pages', 'w-é', 0, NULL, 10, NULL, 1)",
    "json_read_stream('pages', 'long', NULL, NULL, 10, NULL, 1, 'backward')",
]


class Connection:
    """The wire protocol, as far as it takes to see the bytes of rows."""

    def __init__(self, cluster, database):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(f"{cluster.folder}/.s.PGSQL.5432")
        self.stream = self.socket.makefile("rb")
        parameters = f"user\0tester\0database\0{database}\0\0".encode()
        self.socket.sendall(struct.pack("!iI", len(parameters) + 8, 196608) + parameters)
        self.answers()

    def close(self):
        self.socket.close()

    def answers(self):
        """All messages until the server is ready again."""
        found = []
        while not found or found[-1][0] != b"Z":
            kind, length = struct.unpack("!cI", self.stream.read(5))
            found.append((kind, self.stream.read(length - 4)))
            assert kind != b"E", found[-1]
        return found

    @staticmethod
    def message(kind, body):
        return kind + struct.pack("!I", len(body) + 4) + body

    def simple(self, command):
        self.socket.sendall(self.message(b"Q", command.encode() + b"\0"))
        return self.answers()

    def extended(self, command, formats=(), page=0):
        """Executes the statement in pages of so many rows."""
        bind = b"\0\0" + struct.pack("!HHH", 0, 0, len(formats)) + b"".join(struct.pack("!H", code) for code in formats)
        execute = self.message(b"E", b"\0" + struct.pack("!I", page))
        self.socket.sendall(self.message(b"P", b"\0" + command.encode() + b"\0\0\0") + self.message(b"B", bind) +
                            self.message(b"D", b"P\0") + execute * (1 if page == 0 else 20) + self.message(b"S", b""))
        return self.answers()


def rows(answers):
    return [body for kind, body in answers if kind == b"D"]


@pytest.fixture(scope="module")
def server():
    folder = temporary_folder()
    server = Cluster(folder + "/pg").create().start()
    fill(server.connect())
    yield server
    server.stop("immediate")
    shutil.rmtree(folder)


def fill(connection):
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.install_message_db()")
    for number, (time, data, metadata) in enumerate([
        ("2026-11-24 06:00:00", '{"a": 1}', None), ("2026-11-24 06:00:00.1", "null", '"scalar"'),
        ("2026-11-24 23:59:59.999999", "[]", "{}"),
        ("2026-11-25 00:00:00.000001", '{"é\\n\\"": [1.50, true, null, {"b": {}}, "\\u0001\\\\"]}', "[1, [2, []]]"),
        ("1999-12-31 23:59:59.123450", None, "12345678901234567890.1e5"), ("0001-01-01 00:00:00", "false", None),
        ("0001-12-31 12:00:00 BC", "{}", None), ("9999-12-31 23:59:59.5", "{}", None),
        ("10000-01-01 00:00:00", "{}", None), ("294276-12-31 23:59:59.999999", "{}", None), ("infinity", "{}", None),
        ("-infinity", "{}", None)
    ]):
        sql(
            connection,
            "INSERT INTO message_store.messages (stream_name, position, time, type, data, metadata) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            "w-" + "é" * (number % 3), number, time, "T" * number, data, metadata)
    sql(
        connection,
        "INSERT INTO message_store.messages (stream_name, position, type, data, metadata) "
        "SELECT 'w', 9223372036854775807 - n, repeat('type', 3000), "
        "jsonb_build_object('long', repeat('a\"b', 100000 * n), "
        "'incompressible', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i)), "
        "jsonb_build_object('x', n) FROM generate_series(0, 2) n")
    sql(connection, "SELECT millrace.create_namespace('pages')")
    sql(
        connection, "SELECT count(millrace.append('w-é', 'T' || n % 3, jsonb_build_object('n', n, 'text', E'\"\\\\é'), "
        "namespace => 'pages')) FROM generate_series(1, 100) n")
    # A page of these is larger than what is kept of a session's memory for pages.
    sql(
        connection, "SELECT count(millrace.append('long', 'T', jsonb_build_object('long', repeat('a\"b', 1000000)), "
        "namespace => 'pages')) FROM generate_series(1, 2) n")


@pytest.fixture
def connection(server):
    connection = Connection(server, "postgres")
    yield connection
    connection.close()


def check_same(connection, **options):
    ours, postgres = (connection.extended(command, **options) for command in (READ, LIMITED))
    assert len(rows(ours)) == 15 and ours == postgres


def test_text_rows_are_the_same(connection):
    check_same(connection)
    assert connection.simple(READ) == connection.simple(LIMITED)


@pytest.mark.parametrize("formats", [[1], [0], [1] + [0] * 7, [0] * 7 + [1]], ids=str)
def test_columns_in_binary_are_the_same(connection, formats):
    check_same(connection, formats=formats)


@pytest.mark.parametrize("setting", [
    "DateStyle = 'German'", "DateStyle = 'SQL, DMY'", "TimeZone = 'Asia/Tokyo'", "client_encoding = 'LATIN1'",
    "client_encoding = 'SQL_ASCII'", "extra_float_digits = 0"
])
def test_settings_of_the_client_are_kept_to(connection, setting):
    connection.simple("SET " + setting)
    check_same(connection)


def test_rows_fetched_in_pages_are_the_same(connection):
    for page in (1, 4, 15, 16):
        connection.simple("BEGIN")
        check_same(connection, page=page)
        connection.simple("COMMIT")


def test_settings_changed_between_two_pages_take_effect_in_the_second(connection):
    answers = {}
    for command in (READ, LIMITED):
        connection.simple("BEGIN")
        connection.simple("SET LOCAL DateStyle = 'ISO'")
        connection.socket.sendall(
            connection.message(b"P", b"\0" + command.encode() + b"\0\0\0") +
            connection.message(b"B", b"p\0\0" + b"\0" * 6) + connection.message(b"E", b"p\0" + struct.pack("!I", 3)) +
            connection.message(b"S", b""))
        first = connection.answers()
        connection.simple("SET LOCAL DateStyle = 'German'")
        connection.socket.sendall(
            connection.message(b"E", b"p\0" + struct.pack("!I", 0)) + connection.message(b"S", b""))
        answers[command] = first, connection.answers()
        connection.simple("COMMIT")
    assert answers[READ] == answers[LIMITED] and len(rows(answers[READ][1])) == 12


@pytest.mark.parametrize("clause", [
    "WHERE type <> 'TT'", "WHERE metadata IS NULL", "ORDER BY global_position DESC", "OFFSET 3",
    "FETCH FIRST 2 ROWS ONLY"
])
def test_only_whole_reads_go_the_short_way(connection, clause):
    assert connection.extended(f"{READ} {clause}") == connection.extended(f"SELECT * FROM ({LIMITED}) AS m {clause}")


def test_a_read_inside_a_function_sends_nothing_to_the_client(connection):
    connection.simple(
        "CREATE FUNCTION pg_temp.numbered() RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint := 0; "
        f"r record; BEGIN FOR r IN {READ} LOOP n := n + length(r.type); END LOOP; RETURN n; END $$")
    command = "SELECT pg_temp.numbered() FROM message_store.get_category_messages('w', 1, 2)"
    assert rows(connection.simple(command)) == [struct.pack("!HI", 1, 5) + b"36066"] * 2


def page_commands(page):
    """The same page as the node's row, sent by us and by Postgres, and as the function's."""
    read = f"SELECT body, count, next_position FROM millrace.{page}"
    return read, read + " LIMIT 1000000", f"WITH f AS MATERIALIZED ({read}) SELECT f.* FROM f"


def check_same_page(connection, read, **options):
    answers = [[(kind, body) for kind, body in connection.extended(command, **options) if kind in b"DCs"]
               for command in page_commands(read)]
    assert len(rows(answers[0])) == 1 and answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("formats", [[], [0], [1], [0, 1, 1]], ids=str)
def test_pages_are_the_same(connection, formats):
    for page in PAGES * 2:
        check_same_page(connection, page, formats=formats)


@pytest.mark.parametrize("setting", ["client_encoding = 'LATIN1'", "client_encoding = 'SQL_ASCII'"])
def test_pages_in_other_encodings_are_the_same(connection, setting):
    connection.simple("SET " + setting)
    for page in PAGES:
        check_same_page(connection, page)


def test_a_page_that_is_asked_for_row_by_row_comes_once(connection):
    connection.simple("BEGIN")
    check_same_page(connection, PAGES[0], page=1)


def test_a_page_that_fails_leaves_nothing_of_it_to_the_next(server, connection):
    failing = PAGES[0].replace("'pages', 'w', 1", "'pages', 'w', 1 / (random() * 0)::integer")
    before = connection.simple(page_commands(PAGES[1])[0])
    with pytest.raises(AssertionError, match="division by zero"):
        connection.simple(page_commands(failing)[0])
    connection.answers()
    assert connection.simple(page_commands(PAGES[1])[0]) == before


def test_only_all_columns_of_a_page_in_their_order_go_the_short_way(connection):
    page = f"millrace.{PAGES[1]}"
    body, count, after = struct.unpack_from("!HI", rows(connection.simple(f"SELECT body FROM {page}"))[0]), *(
        rows(connection.simple(f"SELECT {column} FROM {page}"))[0][6:] for column in ("count", "next_position"))
    turned = rows(connection.simple(f"SELECT next_position, count FROM {page} WHERE body <> ''"))[0]
    assert body[0] == 1 and body[1] >= 300
    assert turned == b"".join([
        struct.pack("!HI", 2, len(after)), after,
        struct.pack("!I", len(count)), count])


@pytest.mark.parametrize("command", [READ, f"SELECT body, count, next_position FROM millrace.{PAGES[-1]}"],
                         ids=["rows", "a page"])
@pytest.mark.parametrize("ends", ["client", "server"])
def test_a_session_whose_client_does_not_read_can_be_ended(server, command, ends):
    """By the client, which goes, or on the server, while it waits for room in the socket."""
    connection, watching = Connection(server, "postgres"), server.connect()
    connection.simple("SET application_name = 'deaf'")
    waiting = "SELECT pid FROM pg_stat_activity WHERE application_name = 'deaf'"
    connection.socket.sendall(connection.message(b"Q", command.encode() + b"\0"))
    wait_until(lambda: sql(watching, waiting + " AND wait_event = 'ClientWrite'"), "a full socket")
    if ends == "client":
        connection.stream.close()
        connection.close()
    else:
        sql(watching, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'deaf'")
    wait_until(lambda: not sql(watching, waiting), "the end of the session")


def test_large_pieces_go_through_tls():
    folder, port, certificate = temporary_folder(), free_port(), common_certificate()
    server = Cluster(folder + "/pg", [
        "ssl=on", f"ssl_cert_file={certificate.file}", f"ssl_key_file={certificate.key}", "listen_addresses=127.0.0.1",
        f"port={port}"
    ])
    try:
        server.create().start()
        connection = psycopg2.connect(host="127.0.0.1", port=port, user="tester", dbname="postgres", sslmode="require")
        connection.autocommit = True
        assert sql(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(True,)]
        fill(connection)
        sql(connection, "SET DateStyle = 'ISO'")
        rest = READ.replace("1, -1", "13, -1")  # the times before it are none of Python's
        assert len(sql(connection, rest)) == 3 and sql(connection, rest) == sql(connection, rest + " LIMIT 1000")
        for page in PAGES:
            ours, postgres, function = (sql(connection, command) for command in page_commands(page))
            assert ours == postgres == function
        connection.close()
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)
