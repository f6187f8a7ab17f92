"""Another version of Millrace, as sidecar/README.md describes it: what a server does with an extension that is not of
its version."""
import pytest

from store import Server, sql, wait_until

VERSION = ("SELECT extversion, obj_description('millrace.category(text)'::regprocedure) FROM pg_extension "
           "WHERE extname = 'millrace'")
PATCH = "COMMENT ON FUNCTION millrace.category(text) IS 'patched';\n"


@pytest.fixture
def arguments(installation, folder):
    """Of a server on one data directory."""
    installation.add_released()
    return ["--data-dir", f"{folder}/data", "--pg-bindir", str(installation.bin)]


@pytest.fixture
def serve(start, arguments):
    return lambda: start(*arguments)


def refusal(*arguments):
    """What a server says that does not start."""
    server = Server(*arguments, wait=False)
    try:
        assert server.wait() == 1
        return server.text
    finally:
        server.kill()


def begin_with(server, version, *more):
    """Puts another version of the extension into the server's database, with a namespace default."""
    connection = server.postgres()
    for statement in ("DROP EXTENSION millrace CASCADE", "DROP SCHEMA millrace_default CASCADE",
                      f"CREATE EXTENSION millrace VERSION '{version}'", "SELECT millrace.create_namespace('default')",
                      "SELECT millrace.append('a-1', 'T', '{}')", *more):
        sql(connection, statement)
    server.stop()


def test_a_patch_release_updates_a_private_database(installation, serve):
    server = serve()
    assert sql(server.postgres(), VERSION)[0][1] != "patched"
    sql(server.postgres(), "SELECT millrace.append('a-1', 'T', '{}')")
    server.stop()
    patch = installation.next_patch()
    installation.release(patch, PATCH)
    server = serve()
    assert sql(server.postgres(), VERSION) == [(patch, "patched")]
    assert f"extension millrace updated from {installation.version} to {patch}" in server.text
    assert sql(server.postgres(), "SELECT \"position\" FROM millrace.append('a-1', 'T', '{}')") == [(1,)]
    server.stop()
    assert "updated" not in serve().text


def test_an_older_release_s_private_database_is_updated(installation, serve):
    begin_with(serve(), "0.1.0")
    server = serve()
    assert sql(server.postgres(), VERSION)[0][0] == installation.version
    assert sql(server.postgres(), "SELECT \"position\" FROM millrace.append('a-1', 'T', '{}')") == [(1,)]


def test_a_private_database_never_gets_a_version_that_the_program_does_not_know(installation, serve, folder):
    serve().stop()
    installation.release("9.9.0", PATCH)
    server = serve()
    assert sql(server.postgres(), VERSION)[0][0] == installation.version
    new = refusal("--data-dir", f"{folder}/new", "--pg-bindir", str(installation.bin))
    assert ("the files of extension millrace 9.9.0 on the machine of the database server do not fit "
            f"millrace {installation.version}") in new


def test_a_private_database_may_be_a_patch_newer(installation, serve):
    patch = installation.next_patch()
    installation.release(patch, PATCH)
    serve().stop()
    installation.configure(default_version=f"'{installation.version}'")
    assert sql(serve().postgres(), VERSION) == [(patch, "patched")]


def test_a_newer_database_says_that_it_needs_a_newer_program(installation, serve, arguments):
    server = serve()
    installation.release("9.9.0", PATCH)
    sql(server.postgres(), "ALTER EXTENSION millrace UPDATE")
    server.stop()
    said = refusal(*arguments)
    assert (f"extension millrace 9.9.0 in the database does not fit millrace {installation.version}; it is newer: "
            "start the program of its version") in said


def test_an_older_private_database_without_the_new_files_says_what_to_install(installation, serve, arguments):
    begin_with(serve(), "0.1.0")
    installation.configure(default_version="'0.1.0'")
    said = refusal(*arguments)
    assert said.rstrip().endswith("; install the extension of this version on the machine of the database server")


# ---- a PostgreSQL of others ---------------------------------------------------------------------

UPDATE = "let a superuser or the extension's owner run ALTER EXTENSION millrace UPDATE in this database"


@pytest.fixture
def database(old):
    """An older version in a database that a plain role may serve, but not update."""
    connection = old.connect()
    for statement in ("CREATE ROLE plain LOGIN", "CREATE EXTENSION millrace VERSION '0.1.0'",
                      "SELECT millrace.create_namespace('default')", "GRANT USAGE ON SCHEMA millrace_default TO plain",
                      "GRANT SELECT, INSERT ON millrace_default.messages TO plain",
                      "GRANT SELECT (token_hash), UPDATE (token_hash) ON millrace.namespaces TO plain"):
        sql(connection, statement)
    return f"host={old.folder} user=plain dbname=postgres"


def test_a_database_of_others_is_left_to_its_superuser(old, database, start):
    version = old.installation.version
    for user in ("plain", "tester"):
        said = refusal("--database", database.replace("plain", user))
        assert f"extension millrace 0.1.0 in the database does not fit millrace {version}; {UPDATE}" in said
    sql(old.connect(), "ALTER EXTENSION millrace UPDATE")
    assert start("--database", database).client().request("GET", "/health").status == 200

    # A patch release, too, is installed by the owner of that PostgreSQL, when it suits.
    patch = old.installation.next_patch()
    old.installation.release(patch, PATCH)
    server = start("--database", database)
    wait_until(lambda: f"extension millrace {version} is older than its files, {patch}" in server.text,
               "the hint in the log")
    assert sql(old.connect(), VERSION)[0][0] == version


def test_a_database_of_others_without_the_new_files_says_what_to_install(old, database):
    old.installation.configure(default_version="'0.1.0'")
    said = refusal("--database", database)
    assert f"; install the extension of this version on the machine of the database server, then {UPDATE}" in said
