"""What others may have made of the tables of consumers, and who may use them: refused by name, and nothing of it is
run."""
import psycopg2
import psycopg2.extras
import pytest

from store import Cluster, sql, temporary_folder
from test_consumers import append, end_others, next_claim, settle, status

TABLES = ["consumers", "consumer_claims", "consumer_streams", "consumer_skipped"]
VIEWS = ["consumer_status", "consumer_claims_open", "consumer_streams_blocked"]
CALLS = [
    "create_consumer('c', namespace => 'n')", "drop_consumer('c', 'n')", "consumer_next('c', namespace => 'n')",
    "consumer_settle('c', 1, namespace => 'n')", "consumer_extend('c', 1, namespace => 'n')",
    "consumer_move('c', 1, 1, 'n')", "consumer_unpark('c', namespace => 'n')", "consumer_skip('c', 's', 1, 'n')",
    "consumer_reset('c', namespace => 'n')", "consumer_pause('c', 'n')", "consumer_resume('c', 'n')",
    "json_consumer_next('n', 'c', '[{}]')", "json_consumer_settle('n', 'c', '[{\"settle\":[{\"claim\":1}]}]')",
    "json_consumer_release('n', 'c', 1, 1)", "json_consumers('n', 'c')"
]
# What would be seen if it were run: the caller becomes the row of a table.
EVIDENCE = """CREATE TABLE evidence (at timestamptz);
CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO evidence VALUES (now()); RETURN NEW; END $$;
GRANT ALL ON evidence TO PUBLIC"""


@pytest.fixture(scope="module")
def postgres():
    cluster = Cluster(temporary_folder() + "/pg").create().start()
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, EVIDENCE)
    for role in ("member", "owner"):
        sql(connection, f"CREATE ROLE {role} LOGIN")
    sql(connection, "GRANT CREATE ON DATABASE postgres TO owner")
    yield cluster
    cluster.stop("immediate")


@pytest.fixture
def store(postgres):
    """An administrator; in namespace `n` there is a consumer, in `other` another one."""
    connection = postgres.connect()
    for name in ("n", "other"):
        sql(connection, "SELECT millrace.create_namespace(%s)", name)
        sql(connection, "SELECT millrace.create_consumer('c', namespace => %s)", name)
    append(connection, "a-1", 2)
    yield connection
    connection = postgres.connect()
    end_others(connection)
    for name in ("n", "other"):
        sql(connection, "SELECT millrace.drop_namespace(%s)", name)
    connection.close()


def refused(connection, call):
    with pytest.raises(psycopg2.Error) as error:
        sql(connection, f"SELECT * FROM millrace.{call}")
    return error.value.pgcode, str(error.value).splitlines()[0]


def check_refused(store, table, problem):
    said = f'table "millrace_n"."{table}" can\'t be used for consumers: {problem}'
    for call in CALLS:
        assert refused(store, call) == ("MR010", said), call
    for view in VIEWS:
        shown = {row[0] for row in sql(store, f"SELECT namespace FROM millrace.{view}")}
        assert shown <= {"other"}, "one bad namespace does not hide the others"
    assert sql(store, "SELECT namespace FROM millrace.consumer_status") == [("other",)]
    assert sql(store, "SELECT count(*) FROM evidence") == [(0,)]


HOSTILE = {
    "a column more": ("ALTER TABLE {} ADD extra int", "it has other columns"),
    "a column less": ("ALTER TABLE {} DROP {last}", "it has other columns"),
    "a column of another name": ("ALTER TABLE {} RENAME {last} TO another", "it has other columns"),
    "a column of another type": ("ALTER TABLE {} ALTER {last} TYPE varchar(10) USING NULL", "it has other columns"),
    "a trigger": ("CREATE TRIGGER mine BEFORE INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW EXECUTE FUNCTION take()",
                  "it has triggers or rules"),
    "a rule": ("CREATE RULE mine AS ON INSERT TO {} DO ALSO INSERT INTO evidence VALUES (now())",
               "it has triggers or rules"),
    "an index on an expression": ("CREATE INDEX ON {} (({last} IS NULL))",
                                  "it has an index on expressions or on a part of its rows"),
    "an index on a part": ("CREATE INDEX ON {} ({last}) WHERE {last} IS NULL",
                           "it has an index on expressions or on a part of its rows"),
    "no logging": ("ALTER TABLE {} SET UNLOGGED",
                   "it is unlogged, so a crash empties it"),
    "a child": ("CREATE TABLE child () INHERITS ({})", "it has child tables or is one"),
    "a view": ("ALTER TABLE {} RENAME TO kept; CREATE VIEW {} AS SELECT * FROM millrace_n.kept",
               "it has other columns"),
    "a lost key": ("ALTER TABLE {} DROP CONSTRAINT {key}", "it has lost an index"),
    "a key the other way round": ("ALTER TABLE {} DROP CONSTRAINT {key}; CREATE UNIQUE INDEX ON {} ({down})",
                                  "it has lost an index"),
    "a key by another collation": ("ALTER TABLE {} DROP CONSTRAINT {key}; CREATE UNIQUE INDEX ON {} ({collated})",
                                   "it has lost an index"),
}
LAST = {"consumers": "reason", "consumer_claims": "content", "consumer_streams": "error", "consumer_skipped": "error"}
KEYS = {"consumers": "consumers_name_key", "consumer_claims": "consumer_claims_pkey",
        "consumer_streams": "consumer_streams_pkey", "consumer_skipped": "consumer_skipped_pkey"}
DOWN = {"consumers": "name DESC", "consumer_claims": "consumer, claim DESC",
        "consumer_streams": "consumer, stream DESC", "consumer_skipped": "consumer, global_position DESC"}
COLLATED = {"consumers": 'name COLLATE "POSIX"', "consumer_claims": "claim, consumer",
            "consumer_streams": 'consumer, stream COLLATE "POSIX"', "consumer_skipped": "global_position, consumer"}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_not_ours(store, table, kind):
    statement, problem = HOSTILE[kind]
    sql(store, statement.format(*[f"millrace_n.{table}"] * 4, last=LAST[table], key=KEYS[table], down=DOWN[table],
        collated=COLLATED[table]))
    try:
        check_refused(store, table, problem)
    finally:
        sql(store, "DROP TABLE IF EXISTS child")


@pytest.mark.parametrize("table", TABLES)
def test_row_security(postgres, store, table):
    grant(store, "member")
    sql(store, f"ALTER TABLE millrace_n.{table} ENABLE ROW LEVEL SECURITY")
    member = as_role(postgres, "member")
    assert refused(member, "consumer_next('c', namespace => 'n')") == (
        "MR010", f'table "millrace_n"."{table}" can\'t be used for consumers: row security is active')
    assert next_claim(store)[1], "whoever is above it may go on"
    member.close()


def test_a_lost_index_of_what_is_parked_and_a_lost_sequence(store):
    sql(store, "DROP SEQUENCE millrace_n.consumer_numbers")
    assert refused(store, "consumer_next('c', namespace => 'n')") == (
        "MR010", 'table "millrace_n"."consumer_claims" can\'t be used for consumers: its sequence consumer_numbers is '
            'gone')
    sql(store, "DROP INDEX millrace_n.consumer_streams_parked")
    check_refused(store, "consumer_streams", "it has lost an index")


@pytest.mark.parametrize("made", [
    "TABLE consumer_claims (x int)", "VIEW consumer_streams AS SELECT 1 AS x", "SEQUENCE consumer_numbers",
    "TABLE consumers (x int)", "TYPE consumer_skipped AS (x int)", "TYPE consumer_skipped AS ENUM ()",
    "VIEW consumers AS SELECT 1 AS x"])
def test_a_schema_that_holds_something_else_by_such_a_name(store, made):
    sql(store, "SELECT millrace.create_namespace('taken')")
    try:
        kind, name, *rest = made.split(" ", 2)
        sql(store, f"CREATE {kind} millrace_taken.{name} {' '.join(rest)}")
        code, said = refused(store, "create_consumer('c', namespace => 'taken')")
        assert code == "MR010" and name in said and "millrace_taken" in said
        assert sql(store, "SELECT count(*) FROM pg_class WHERE relnamespace = 'millrace_taken'::regnamespace AND "
            "relname LIKE 'consumer%%'")[0][0] <= 1
        assert ("taken",) not in sql(store, "SELECT namespace FROM millrace.consumer_status")
    finally:
        sql(store, "SELECT millrace.drop_namespace('taken')")


# ---- roles ----


def as_role(postgres, role):
    connection = psycopg2.connect(postgres.conninfo().replace("user=tester", f"user={role}"))
    connection.autocommit = True
    return connection


def grant(store, role):
    sql(store, f"GRANT USAGE ON SCHEMA millrace_n TO {role}")
    sql(store, f"GRANT SELECT ON millrace_n.messages TO {role}")
    sql(store, f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join('millrace_n.' + table for table in TABLES)} TO "
        f"{role}")
    sql(store, f"GRANT USAGE, UPDATE ON SEQUENCE millrace_n.consumer_numbers TO {role}")


def test_a_role_with_the_documented_rights(postgres, store):
    grant(store, "member")
    member = as_role(postgres, "member")
    claim, messages = next_claim(member)
    assert len(messages) == 2
    settle(member, claim)
    assert sql(member, "SELECT namespace, lag FROM millrace.consumer_status") == [("n", 0)]
    assert sql(member, "SELECT millrace.create_consumer('own', namespace => 'n')") == [(True,)]
    member.close()


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE", "DELETE"])
@pytest.mark.parametrize("table", TABLES)
def test_a_role_without_one_right_on_one_table(postgres, store, table, right):
    grant(store, "member")
    sql(store, f"REVOKE {right} ON millrace_n.{table} FROM member")
    member = as_role(postgres, "member")
    for call in CALLS[:-1]:
        code, said = refused(member, call)
        assert code == "42501" and table in said, (call, said)
    for view in VIEWS:
        rows = sql(member, f"SELECT namespace FROM millrace.{view}")
        assert not (right == "SELECT" and rows), "what one may not see is left out"
    member.close()


def test_a_role_without_rights_on_the_messages_the_sequence_or_the_schema(postgres, store):
    grant(store, "member")
    member = as_role(postgres, "member")
    sql(store, "REVOKE ALL ON SEQUENCE millrace_n.consumer_numbers FROM member")
    code, said = refused(member, "consumer_next('c', namespace => 'n')")
    assert code == "42501" and "consumer_numbers" in said
    sql(store, "REVOKE SELECT ON millrace_n.messages FROM member")
    code, said = refused(member, "consumer_next('c', namespace => 'n')")
    assert code == "42501" and "messages" in said
    sql(store, "REVOKE USAGE ON SCHEMA millrace_n FROM member")
    assert refused(member, "consumer_next('c', namespace => 'n')")[0] in ("42501", "MR003")
    assert sql(member, "SELECT namespace FROM millrace.consumer_status") == []
    member.close()


def test_who_may_not_make_the_tables_is_told_how(postgres, store):
    sql(store, "SELECT millrace.create_namespace('bare')")
    sql(store, "GRANT USAGE ON SCHEMA millrace_bare TO member")
    sql(store, "GRANT SELECT ON millrace_bare.messages TO member")
    member = as_role(postgres, "member")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege) as error:
        sql(member, "SELECT millrace.create_consumer('c', namespace => 'bare')")
    assert "GRANT CREATE ON SCHEMA millrace_bare" in str(error.value)
    member.close()
    sql(store, "SELECT millrace.drop_namespace('bare')")


# ---- names ----


@pytest.mark.parametrize("name", ['with "quotes"', "it's", "%s %I $1", "ünï cödé", "x" * 200, " ", "-", "a\nb",
                                  "consumers'; DROP TABLE evidence; --"])
def test_names(postgres, store, name):
    assert sql(store, "SELECT millrace.create_namespace(%s) IS NOT NULL", name[:20])
    try:
        assert sql(store, "SELECT millrace.create_consumer(%s, namespace => %s)", name, name[:20]) == [(True,)]
        sql(store, "SELECT millrace.append('s-1', 'T', '{}', namespace => %s)", name[:20])
        claim = sql(store, "SELECT claim FROM millrace.consumer_next(%s, member => %s, namespace => %s)", name, name,
            name[:20])[0][0]
        assert sql(store, "SELECT consumer, member FROM millrace.consumer_claims_open WHERE namespace = %s",
            name[:20]) == [(name, name)]
        failed = '[{"stream": "s-1", "position": 0, "error": "it\'s \\"bad\\" \\\\ \\n"}]'
        sql(store, "SELECT millrace.consumer_settle(%s, %s, failed => %s, namespace => %s)", name, claim, failed,
            name[:20])
        assert sql(store, "SELECT claim FROM millrace.json_consumer_next(%s, %s, '[{}]')", name[:20], name) == [(None,)]
        assert sql(store, "SELECT error FROM millrace.consumer_streams_blocked WHERE namespace = %s",
            name[:20]) == [("it's \"bad\" \\ \n",)]
    finally:
        sql(store, "SELECT millrace.drop_namespace(%s)", name[:20])


@pytest.mark.parametrize("ordering", ["stream", "all"])
def test_streams_of_any_name(store, ordering):
    names = ["x" * 2000, "a-" + "é" * 999, "no category", "-", "a-", "--", "a-1-2", " ", "a:command-1", "%s", "'\"\\"]
    sql(store, "SELECT millrace.drop_consumer('c', 'n')")
    sql(store, "SELECT millrace.create_consumer('c', ordering => %s, \"position\" => 3, namespace => 'n')", ordering)
    for name in names:
        append(store, name, 2)
    claim, messages = next_claim(store)
    assert [message[0] for message in messages] == [name for name in names for _ in range(2)]
    given = [{"stream": name, "position": 1, "delayMs": 0, "error": "e" * 3000} for name in names]
    settle(store, claim, failed=psycopg2.extras.Json(given))
    seen = []
    while True:
        claim, messages = next_claim(store)
        if not claim:
            break
        settle(store, claim)
        seen += messages
    assert {(message[0], message[1]) for message in seen} >= {(name, 1) for name in names}
    assert status(store, "lag") == (0,)


def content(spans=b"\x01" + bytes(8) + b"\x01\x02", failures=b"\x00"):
    """Of a claim: a version, where it was given, its lease in ms, its bytes, its spans, what was given back."""
    return b"\x01" + b"\x01\x01\x01" + spans + b"\x00" + failures


NEGATIVE = b"\xff\xff\xff\xff\x0f"  # as a number of 32 bits
DAMAGED = [
    content(spans=b"\x01" + bytes(8) + b"\x01" + NEGATIVE),
    content(spans=b"\x02" + bytes(8) + b"\x01\xe8\x07" + bytes(8) + b"\x01\x01"),  # 1,000 messages and one
    content(failures=b"\x01\x00\x00\x01\x00" + b"\x00\x00"),  # of no stream
    content(failures=b"\x01\x00\x00\x01\x00" + b"\x04a-1" + b"\x02\xff"),  # its error is no text
    content(failures=b"\x01\x00\x00\x01" + b"\xff" * 9 + b"\x01" + b"\x04a-1\x00"),  # again in 600 million years
]


def test_what_somebody_wrote_into_the_tables(store):
    """An error that says so, never a crash."""
    next_claim(store)
    for content in (b"", b"\x02", b"\x01", b"\x01\x01\x01\x01" + b"\xff" * 8 + b"\x7f", b"\xff" * 40,
                    b"\x01" + b"\x80" * 30, *DAMAGED):
        sql(store, "UPDATE millrace_n.consumer_claims SET content = %s", content)
        code, said = refused(store, "consumer_next('c', namespace => 'n')")
        assert code == "XX001", said
    sql(store, "DELETE FROM millrace_n.consumer_claims")
    assert refused(store, "consumer_next('c', namespace => 'n')") == ("XX001", "a consumer has lost its newest claim")
    sql(store, "SELECT millrace.consumer_reset('c', namespace => 'n')")
    assert len(next_claim(store)[1]) == 2
    sql(store, "BEGIN")
    sql(store, "UPDATE millrace_n.consumers SET options = '[1, 2, 3]'")
    assert refused(store, "consumer_next('c', namespace => 'n')")[0] == "XX001"
    sql(store, "ROLLBACK")
    for column, value in (("ordering", "other"), ("state", "other"), ("options", '{"onPoison": "other"}')):
        sql(store, "BEGIN")
        sql(store, f"UPDATE millrace_n.consumers SET {column} = %s", value)
        assert refused(store, "consumer_next('c', namespace => 'n')") == ("XX001", '"other" is not known to consumers')
        sql(store, "ROLLBACK")


@pytest.mark.parametrize("table, key, column", [
    ("consumers", "name", "name"), ("consumers", "name", "ordering"), ("consumers", "name", "state"),
    ("consumer_streams", "consumer, stream", "stream")])
def test_a_table_that_may_have_nulls_now(store, table, key, column):
    claim, _ = next_claim(store)
    settle(store, claim, failed='[{"stream": "a-1", "position": 0, "delayMs": 0}]')
    next_claim(store)
    sql(store, f"ALTER TABLE millrace_n.{table} DROP CONSTRAINT {KEYS[table]}; ALTER TABLE millrace_n.{table} ALTER "
        f"{column} DROP NOT NULL; CREATE UNIQUE INDEX ON millrace_n.{table} ({key}); UPDATE millrace_n.{table} SET "
        f"{column} = NULL")
    for call in ("consumer_next('c', namespace => 'n')", "consumers_of('n', NULL)"):
        code, said = refused(store, call)
        assert code == "XX001" and column in said or column == "name" and code == "MR016", (call, said)


def test_the_function_behind_create_consumer(store):
    """Whoever calls it by itself."""
    for name, ordering, options, code in (("NULL", "'stream'", "NULL", "MR005"), ("'d'", "NULL", "NULL", "MR005"),
                                          ("''", "'stream'", "NULL", "MR006"), ("'d'", "'stream'", "'[1]'", "MR008")):
        call = f"add_consumer({name}, NULL, NULL, NULL, NULL, {ordering}, {options}, NULL, NULL, 'n')"
        assert refused(store, call)[0] == code
