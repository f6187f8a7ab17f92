"""Where the extension is trusted, the owner of a database creates it and administers its namespaces, and gets no
further."""
import subprocess
import threading

import psycopg2
import pytest

from catalogue import catalogue, difference
from store import ZERO_TOKEN, sql, wait_until


@pytest.fixture
def trusted(installation, folder):
    """Database `store` belongs to `owner`, which is no superuser; there are scripts of older versions, too."""
    installation.add_released()
    cluster = installation.cluster(folder + "/pg").create().start()
    for statement in ("CREATE ROLE owner LOGIN", "CREATE ROLE another LOGIN", "CREATE DATABASE store OWNER owner"):
        sql(cluster.connect(), statement)
    yield cluster
    cluster.stop("immediate")


def connect(cluster, user, database="store"):
    connection = psycopg2.connect(cluster.conninfo(database), user=user)
    connection.autocommit = True
    return connection


@pytest.fixture
def owner(trusted):
    connection = connect(trusted, "owner")
    sql(connection, "CREATE EXTENSION millrace")
    return connection


def refused(connection, statement, *arguments):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege) as error:
        sql(connection, statement, *arguments)
    return str(error.value)


def administer(connection):
    """Everything that an administrator of namespaces does."""
    assert sql(connection, "SELECT millrace.ensure_namespace('default')") == [(True,)]
    sql(connection, "SELECT millrace.create_namespace('sales', 'what is sold', repeat('0', 64))")
    sql(connection, "SELECT millrace.set_namespace_token('sales', repeat('a', 64))")
    assert sql(connection, "SELECT millrace.namespace_token_hash('sales')") == [("a" * 64,)]
    assert sql(connection, "SELECT \"position\" FROM millrace.append('a-1', 'T', '{}')") == [(0,)]
    assert sql(connection, "SELECT stream_name FROM millrace.read_all()") == [("a-1",)]
    assert sql(connection, "SELECT name, message_count FROM millrace.list_namespaces()") == [("default", 1),
                                                                                             ("sales", 0)]
    assert sql(connection, "SELECT message_count FROM millrace.describe_namespace('default')") == [(1,)]
    assert sql(connection, "SELECT millrace.empty_namespace('default')") == [(1,)]
    assert sql(connection, "SELECT millrace.drop_namespace('sales')") == [(0,)]


def test_the_owner_of_a_database_creates_the_extension_and_namespaces(owner):
    administer(owner)


def test_the_owner_of_a_database_in_which_a_superuser_created_it_does_too(trusted):
    sql(trusted.connect("store"), "CREATE EXTENSION millrace")
    administer(connect(trusted, "owner"))


def test_who_owns_the_database_is_asked_each_time(trusted, owner):
    sql(owner, "SELECT millrace.create_namespace('default')")
    sql(trusted.connect(), "ALTER DATABASE store OWNER TO another")
    another = connect(trusted, "another")
    assert sql(another, "SELECT millrace.create_namespace('new') IS NOT NULL") == [(True,)]
    assert "permission denied" in refused(owner, "SELECT millrace.create_namespace('more')")
    assert "permission denied" in refused(owner, "SELECT token_hash FROM millrace.namespaces")


def test_who_may_only_create_in_a_database_creates_the_extension_and_no_namespace(trusted):
    sql(trusted.connect(), "GRANT CREATE ON DATABASE store TO another")
    another = connect(trusted, "another")
    sql(another, "CREATE EXTENSION millrace")
    assert "permission denied for table namespaces" in refused(another, "SELECT millrace.create_namespace('default')")


def test_a_server_runs_as_the_owner(trusted, start):
    client = start("--database",
                   trusted.conninfo("store").replace("user=tester", "user=owner"), "--token", ZERO_TOKEN,
                   token=ZERO_TOKEN).client()
    assert client.write("account-1")["position"] == 0
    client.call("ns.create", "sales")
    assert [each["namespace"] for each in client.call("ns.list")] == ["default", "sales"]
    assert client.call("ns.delete", "sales")["messagesDeleted"] == 0


def test_all_that_the_extension_is_belongs_to_the_superuser(trusted, owner):
    sql(trusted.connect(), "CREATE DATABASE fresh")
    fresh = trusted.connect("fresh")
    sql(fresh, "CREATE EXTENSION millrace")
    found = difference(catalogue(fresh), catalogue(trusted.connect("store")))
    assert found.keys() == {"extension"} and {each["owner"] for each in found["extension"]} == {"tester", "owner"}


@pytest.mark.parametrize(
    "statement",
    [
        # A function that a superuser's call would find instead of ours.
        "CREATE FUNCTION millrace.append(text, text, text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        "CREATE OPERATOR millrace.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = textcat)",
        "ALTER SCHEMA millrace RENAME TO mine",
        "GRANT CREATE ON SCHEMA millrace TO another",
        "CREATE OR REPLACE FUNCTION millrace.category(stream text) RETURNS text "
        "LANGUAGE sql IMMUTABLE STRICT AS 'SELECT 1::text'",
        "ALTER FUNCTION millrace.list_namespaces() SET search_path = mine",
        "ALTER EXTENSION millrace DROP FUNCTION millrace.category(text)",
        "ALTER EXTENSION millrace SET SCHEMA public",
        "ALTER TYPE millrace.message ADD ATTRIBUTE mine text",
        "ALTER TYPE millrace.new_message OWNER TO owner",
        "CREATE TRIGGER mine BEFORE INSERT ON millrace.namespaces FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE millrace.namespaces ADD COLUMN mine text",
        "CREATE INDEX ON millrace.namespaces (description)",
        "TRUNCATE millrace.namespaces",
        "CREATE RULE mine AS ON INSERT TO millrace.namespaces DO ALSO SELECT 1",
        "CREATE OR REPLACE VIEW millrace.appending AS SELECT 1",
        "CREATE POLICY mine ON millrace.namespaces USING (true)",
        "GRANT INSERT ON millrace.namespaces TO another"
    ])
def test_the_owner_changes_nothing_of_the_extension(owner, statement):
    sql(owner, "CREATE TABLE mine (n int)")
    before = catalogue(owner)
    try:
        sql(owner, statement)
    except psycopg2.Error as error:
        assert error.pgcode in ("42501", "0A000"), error
    assert catalogue(owner) == before


@pytest.mark.parametrize("name, schema", [("stolen", "private"), ("stolen", "pg_catalog"), ("stolen", "millrace_sales"),
                                          ("stolen", "message_store"), ("default", "private")])
def test_the_registry_holds_no_schema_but_a_namespace_s_own(trusted, owner, name, schema):
    """Or dropping a namespace would drop what is a superuser's."""
    sql(trusted.connect("store"), "CREATE SCHEMA private")
    for statement in (
            "INSERT INTO millrace.namespaces (name, schema) VALUES (%s, %s)",
            "INSERT INTO millrace.namespaces (name, schema) SELECT n, millrace.namespace_schema(n) "
            "FROM (VALUES (%s)) v (n); UPDATE millrace.namespaces SET schema = %s"
    ):
        with pytest.raises(psycopg2.errors.CheckViolation):
            sql(owner, statement, name, schema)


def test_message_db_s_interface_stays_a_superuser_s(trusted, owner):
    refused(owner, "SELECT millrace.install_message_db()")
    sql(trusted.connect(), "CREATE ROLE message_store LOGIN")
    refused(owner, "SELECT millrace.install_message_db()")
    assert sql(owner, "SELECT to_regnamespace('message_store')") == [(None,)]
    assert sql(trusted.connect("store"), "SELECT millrace.install_message_db()") == [("installed",)]
    refused(owner, "SELECT millrace.append('a-1', 'T', '{}')")


def test_it_is_dropped_and_created_again(trusted, owner):
    sql(owner, "SELECT millrace.create_namespace('default')")
    sql(owner, "DROP EXTENSION millrace CASCADE")
    sql(owner, "DROP SCHEMA millrace_default CASCADE")
    sql(owner, "CREATE EXTENSION millrace")
    administer(owner)
    assert catalogue(owner)["schema"]["owner"] == "tester"


def dump(cluster, user, target, *options):
    """Dumps the database by a role, and restores it into a new one that is another's, by that one."""
    file = cluster.folder / "dump"
    for command in ([
            f"{cluster.bin}/pg_dump", "-U", user, "-d",
            cluster.conninfo("store").replace("user=tester", ""), "-Fc", "-f", file
    ], [
            f"{cluster.bin}/pg_restore", "--exit-on-error", "-d",
            cluster.conninfo(target).replace("user=tester", "user=another"), *options, file
    ]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("user", ["owner", "tester"])
def test_a_dump_is_restored_by_an_owner(trusted, owner, user):
    sql(owner, "SELECT millrace.create_namespace('default', NULL, repeat('0', 64))")
    sql(owner, "SELECT millrace.append('a-1', 'T', '{}')")
    sql(trusted.connect(), "CREATE DATABASE restored OWNER another")
    dump(trusted, user, "restored", "--no-owner")
    another = connect(trusted, "another", "restored")
    assert sql(another, "SELECT name, schema, token_hash FROM millrace.namespaces") == [("default", "millrace_default",
                                                                                         "0" * 64)]
    assert sql(another, "SELECT \"position\" FROM millrace.append('a-1', 'T', '{}')") == [(1,)]
    assert difference(catalogue(trusted.connect("store")),
                      catalogue(trusted.connect("restored"))).keys() <= {"extension"}
    assert sql(
        another,
        "SELECT millrace.drop_namespace(n::text) FROM (SELECT 'new' AS n, millrace.create_namespace('new')) v") == [
            (0, )
        ]


@pytest.mark.parametrize("before, said",
                         [(["CREATE FUNCTION millrace.category(varchar) RETURNS text LANGUAGE sql AS 'SELECT 1::text'"
                            ], "schema millrace is not empty: it has function millrace.category("),
                          (["CREATE TABLE millrace.namespaces (n int)"], "schema millrace is not empty: it has t"),
                          (["CREATE TYPE millrace.message AS (n int)"], "schema millrace is not empty: it has t"),
                          ([
                              "CREATE FUNCTION millrace.f(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
                              "CREATE OPERATOR millrace.= (FUNCTION = millrace.f, LEFTARG = int, RIGHTARG = int)"
                          ], "schema millrace is not empty: it has function")])
@pytest.mark.parametrize("creator", ["owner", "superuser"])
def test_a_schema_of_another_role_is_not_taken_over(trusted, before, said, creator):
    owner = connect(trusted, "owner")
    for statement in ["CREATE SCHEMA millrace", *before]:
        sql(owner, statement)
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState) as error:
        sql(owner if creator == "owner" else trusted.connect("store"), "CREATE EXTENSION millrace")
    assert said in str(error.value)
    assert sql(owner, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'millrace'") == [("owner",)]


# Operators that fit better than the server's own, which has none of these types, but casts.
TRAPS = [("=", "oid", "regclass", "bool"), ("<>", "oid", "regclass", "bool"), ("=", "oid", "regnamespace", "bool"),
         ("=", "name", "text", "bool"), ("||", "text", "oid", "text")]


def set_trap(connection, operator, left, right, result):
    sql(
        connection,
        f"CREATE FUNCTION millrace.trap({left}, {right}) RETURNS {result} LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'run as %', current_user; END $$"
    )
    sql(connection,
        f"CREATE OPERATOR millrace.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = millrace.trap)")


@pytest.mark.parametrize("trap", TRAPS, ids=[" ".join(trap) for trap in TRAPS])
def test_no_operator_that_is_there_before_is_run_by_create_extension(trusted, trap):
    owner = connect(trusted, "owner")
    sql(owner, "CREATE SCHEMA millrace")
    set_trap(owner, *trap)
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState, match="schema millrace is not empty"):
        sql(owner, "CREATE EXTENSION millrace")


OVERLOAD = "CREATE FUNCTION millrace.category(varchar) RETURNS text LANGUAGE sql AS 'SELECT 1::text'"


@pytest.mark.parametrize("creator", ["owner", "superuser"])
def test_an_empty_schema_makes_room_for_the_extension_s_own(trusted, creator):
    owner, another = connect(trusted, "owner"), connect(trusted, "another")
    sql(owner, "CREATE SCHEMA millrace")
    sql(owner, "GRANT ALL ON SCHEMA millrace TO another, PUBLIC")
    sql(owner if creator == "owner" else trusted.connect("store"), "CREATE EXTENSION millrace")
    administer(owner)
    for each in owner, another:
        refused(each, OVERLOAD)
    assert sql(owner, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'millrace%%' ORDER BY 1") == [
        ("millrace", ), ("millrace_default", )
    ]


STRANGERS = """SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend d
    WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'millrace'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend m WHERE m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e')
    AND classid IN ('pg_proc'::regclass, 'pg_operator'::regclass)"""


def create(connection, outcome):
    try:
        sql(connection, "CREATE EXTENSION millrace")
        outcome.append("created")
    except psycopg2.Error as error:
        outcome.append(error.pgcode)


@pytest.mark.parametrize("creator", ["owner", "superuser"])
@pytest.mark.parametrize(
    "statement",
    [OVERLOAD, "CREATE OPERATOR millrace.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_catalog.textcat)"])
def test_nothing_comes_into_the_schema_while_the_extension_is_created(trusted, creator, statement):
    """What the owner of an empty schema has begun before, and commits after.  Servers that lock the schema for it
    refuse the extension; the others leave nothing of it."""
    owner, other, admin = connect(trusted, "owner"), connect(trusted, "owner"), trusted.connect("store")
    creating = owner if creator == "owner" else trusted.connect("store")
    sql(owner, "CREATE SCHEMA millrace")
    sql(other, "BEGIN")
    sql(other, statement)
    outcome = []
    thread = threading.Thread(target=create, args=(creating, outcome))
    thread.start()
    wait_until(lambda: outcome or sql(admin, "SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0, )],
               "the end of CREATE EXTENSION, or that it waits")
    try:
        sql(other, "COMMIT")
    except psycopg2.Error:
        pass
    thread.join(60)
    assert outcome in (["created"], ["2BP01"])
    if outcome == ["created"]:
        assert sql(owner, STRANGERS) == []
        administer(owner)


def test_an_older_version_is_a_superuser_s(trusted):
    owner = connect(trusted, "owner")
    refused(owner, "CREATE EXTENSION millrace VERSION '0.1.0'")
    sql(trusted.connect("store"), "CREATE EXTENSION millrace VERSION '0.1.0'")
    refused(owner, "ALTER EXTENSION millrace UPDATE")


FORMAT = ("CREATE FUNCTION millrace.format(text, regrole) RETURNS text LANGUAGE plpgsql AS $$ "
          "BEGIN RAISE EXCEPTION 'run as %', current_user; END $$")


@pytest.mark.parametrize(
    "stranger",
    [*TRAPS, FORMAT, OVERLOAD, "CREATE TABLE millrace.millrace_privileges (name name, privileges aclitem[])"],
    ids=lambda stranger: " ".join(stranger) if isinstance(stranger, tuple) else stranger.split("(")[0])
def test_an_update_runs_and_keeps_nothing_that_others_have_put_into_the_schema(trusted, stranger):
    """0.1.0 took a schema that was another role's."""
    owner, another, admin = connect(trusted, "owner"), connect(trusted, "another"), trusted.connect("store")
    sql(owner, "CREATE SCHEMA millrace")
    sql(owner, "GRANT ALL ON SCHEMA millrace TO another, PUBLIC")
    sql(admin, "CREATE EXTENSION millrace VERSION '0.1.0'")
    sql(admin, "CREATE VIEW millrace.mine AS SELECT 1 AS n")
    if isinstance(stranger, tuple):
        set_trap(another, *stranger)
    else:
        sql(another, stranger)
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState,
                       match="schema millrace has .*, which belongs to role another"):
        sql(admin, "ALTER EXTENSION millrace UPDATE")
    sql(another, "DROP OWNED BY another")
    sql(admin, "ALTER EXTENSION millrace UPDATE")
    administer(owner)
    for each in owner, another:
        refused(each, OVERLOAD)
    assert sql(another, "SELECT millrace.category('a-1')") == [("a",)]
    assert sql(admin, "SELECT n FROM millrace.mine") == [(1,)]
