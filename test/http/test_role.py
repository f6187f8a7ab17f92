"""How little the database role needs, and that what the manual grants it is all needed."""
import re

import psycopg2
import pytest

from every_call import MANUAL, exercise, subscribe
from store import ZERO_TOKEN, Server, sql, token_for


def statements(heading):
    """The GRANTs of the manual under a heading, one a string."""
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)^#", MANUAL, re.M | re.S).group(1)
    blocks = re.findall(r"```sql\n(.*?)```", section, re.S)
    return [
        line.strip() for block in blocks for line in re.sub(r"--.*|^\\.*", "", block, flags=re.M).split(";")
        if line.strip()
    ]


def grants(lines):
    return [line for line in lines if line.startswith("GRANT")]


class Role:
    """A role that has what the manual grants it, and a server that logs in as this role."""

    def __init__(self, cluster, heading):
        self.cluster = cluster
        self.lines = statements(heading)
        self.owner = cluster.connect()
        sql(self.owner, "CREATE DATABASE events")
        self.owner.close()
        self.owner = cluster.connect("events")
        sql(self.owner, "CREATE EXTENSION millrace")
        sql(self.owner, "SELECT millrace.create_namespace('stranger')")
        sql(self.owner, "SET millrace.namespace = stranger")
        sql(self.owner, "SELECT millrace.append('s-1', 'T', '{}')")
        sql(self.owner, "CREATE ROLE millrace LOGIN")
        for line in self.lines:
            sql(self.owner, line)
        self.user = psycopg2.connect(host=str(cluster.folder), user="millrace", dbname="events")
        self.user.autocommit = True
        self.server = None

    def serve(self, *arguments):
        self.server = Server("--database", f"host={self.cluster.folder} user=millrace dbname=events", *arguments)
        return self.server

    def refuses(self, *attempts):
        for attempt in attempts:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                sql(self.user, attempt)
                print("was allowed:", attempt)

    def close(self):
        if self.server:
            self.server.stop()
        self.owner.close()
        self.user.close()


BEYOND = [
    "CREATE ROLE mine", "ALTER ROLE millrace SUPERUSER", "CREATE DATABASE mine", "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/passwd')", "SELECT pg_reload_conf()", "ALTER SYSTEM SET fsync = off",
    "CREATE TABLE millrace.mine ()", "CREATE FUNCTION millrace.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP EXTENSION millrace", "DROP TABLE millrace.namespaces", "TRUNCATE millrace.namespaces",
    "ALTER TABLE millrace.namespaces ADD x int", "UPDATE millrace.namespaces SET schema = 'x'",
    "UPDATE millrace.namespaces SET name = 'x' WHERE name = 'stranger'", "CREATE TABLE millrace_stranger.mine ()",
    "SELECT * FROM millrace_stranger.messages", "INSERT INTO millrace_stranger.messages DEFAULT VALUES",
    "DELETE FROM millrace_stranger.messages", "TRUNCATE millrace_stranger.messages",
    "DROP TABLE millrace_stranger.messages", "DROP SCHEMA millrace_stranger CASCADE",
    "SELECT millrace.drop_namespace('stranger')", "SELECT millrace.empty_namespace('stranger')",
    "SELECT * FROM pg_authid", "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE c AS 'libc', 'abs'"
]


@pytest.fixture
def role(cluster, request):
    role = Role(cluster, request.param)
    yield role
    role.close()


# Where you create them, and may remove.
REFUSED = {
    "ns.create", "ns.delete", "ns.setLimits", "ns.createToken", "ns.revokeToken", "stream.truncate", "stream.remove",
    "stream.reopen", "message.redact", "messages.remove", "ns.purge", "ns.setRetention", "ns.retention", "ns.sweep",
    "ns.removals"
}
CREATES, GIVEN = "The server creates namespaces", "You create the namespaces"


@pytest.mark.parametrize("role", [CREATES], indirect=True)
def test_a_role_that_may_create_namespaces_serves_everything(role):
    server = role.serve("--token", ZERO_TOKEN)
    admin = server.client(ZERO_TOKEN)
    assert exercise(admin) == {}
    subscribe(server, ZERO_TOKEN, admin)
    token = admin.call("ns.create", "tenant", {"description": "d", "metadata": {}})["token"]
    assert exercise(server.client(token), "tenant", admin=False) == {}
    assert admin.call("ns.delete", "tenant")
    role.refuses(*BEYOND)
    assert admin.refused("ns.delete", "stranger").code == "BACKEND_ERROR"
    assert role.owner is not None and sql(role.owner, "SELECT count(*) FROM millrace_stranger.messages") == [(1,)]


@pytest.mark.parametrize("role", [CREATES], indirect=True)
def test_what_a_role_that_creates_namespaces_is_granted_is_all_needed(role):
    """Without any one of its privileges something fails."""
    server = role.serve("--token", ZERO_TOKEN)
    admin = server.client(ZERO_TOKEN)
    granted = list(privileges(grants(role.lines)))
    assert granted
    for privilege, where in granted:
        sql(role.owner, f"REVOKE {privilege} ON {where} FROM millrace")
        failed = exercise_quietly(admin)
        if "token_hash" in privilege:
            failed.update(lost_tokens(role, admin))
        assert failed, f"GRANT {privilege} ON {where} is not needed"
        sql(role.owner, f"GRANT {privilege} ON {where} TO millrace")
        admin.post(["ns.delete", "made"])  # what could be created, but not deleted
        admin.post(["ns.revokeToken", "default", "made"])
        assert exercise(admin) == {}




def privileges(lines):
    """One privilege on one thing at a time: "SELECT, INSERT ON t" is two."""
    for line in lines:
        found = re.fullmatch(r"GRANT (.*) ON (.*) TO millrace", line)
        for privilege in re.findall(r"[A-Z]+(?: \([a-z_, ]*\))?", found.group(1)):
            yield privilege, found.group(2)


def lost_tokens(role, admin):
    """What fails with tokens themselves: looking one up, and setting one."""
    failed = {}
    for statement in (
            "SELECT millrace.namespace_token_hash('default')",
            "SELECT millrace.set_namespace_token('default', (SELECT millrace.namespace_token_hash('default')))"):
        try:
            sql(role.user, statement)
        except psycopg2.errors.InsufficientPrivilege as error:
            failed[statement] = str(error)
    return failed


@pytest.mark.parametrize("role", [GIVEN], indirect=True)
def test_a_role_for_namespaces_that_others_created_serves_all_but_their_creation(role):
    token = re.search(r"'(ns_ZGVmYXVsdA_[0-9a-f.]*)'", "\n".join(role.lines)).group(1)
    if "..." in token:
        token = token_for("default")
        sql(role.owner, "SELECT millrace.set_namespace_token('default', encode(sha256(%s), 'hex'))", token.encode())
    server = role.serve()
    assert "was created" not in server.text
    admin = server.client(token)
    failed = exercise(admin)
    assert set(failed) == REFUSED, failed
    assert all(re.search("permission denied|does not exist|must be owner", failed[each]) for each in failed)
    subscribe(server, token, admin)
    role.refuses(*BEYOND, "CREATE SCHEMA mine", "CREATE TABLE millrace_default.mine ()",
                 "UPDATE millrace_default.messages SET type = 'x'", "DELETE FROM millrace_default.messages",
                 "ALTER TABLE millrace_default.messages ADD x int", "DROP TABLE millrace_default.messages",
                 "DROP SCHEMA millrace_default CASCADE", "DELETE FROM millrace.namespaces",
                 "INSERT INTO millrace.namespaces (name, schema) VALUES ('x', 'x')",
                 "UPDATE millrace.namespaces SET token_hash = 'x'",
                 "UPDATE millrace.tokens SET rights = '{administer}'", "DELETE FROM millrace.tokens",
                 "INSERT INTO millrace.tokens VALUES ('default', 't', 'x', '{administer}')",
                 "SELECT millrace.set_namespace_token('default', repeat('0', 64))",
                 "SELECT millrace.create_namespace('x')")
    granted = list(privileges(grants(role.lines)))
    assert granted
    for privilege, where in granted:
        sql(role.owner, f"REVOKE {privilege} ON {where} FROM millrace")
        lost = exercise_quietly(admin)
        if "token_hash" in privilege:
            lost.update(lost_tokens(role, admin))
        assert set(lost) - REFUSED, f"GRANT {privilege} ON {where} is not needed"
        sql(role.owner, f"GRANT {privilege} ON {where} TO millrace")


def exercise_quietly(client):
    try:
        return exercise(client)
    except Exception as error:  # noqa: B902 not even a message could be written
        return {"all": str(error)}
