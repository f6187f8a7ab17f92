"""A schema of messages that the registry does not know any more: after DROP EXTENSION, or from a dump of the schema
alone."""
import subprocess

import psycopg2
import pytest

from store import sql
from test_hostile_owner import ATTACK, taken
from test_trusted import connect, owner, trusted  # noqa: F401

APPEND = "SELECT \"position\", global_position FROM millrace.append('a-1', 'T', '{}')"


def fails(connection, statement, *arguments):
    with pytest.raises(psycopg2.Error) as error:
        sql(connection, statement, *arguments)
    return error.value.pgcode


@pytest.mark.parametrize("name", ["default", "Ten ant"])
def test_a_namespace_is_registered_again(trusted, owner, name):  # noqa: F811
    sql(owner, "SELECT millrace.create_namespace(%s)", name)
    sql(owner, "SELECT set_config('millrace.namespace', %s, false)", name)
    sql(owner, "INSERT INTO millrace.namespaces (name, schema) SELECT 'gone', millrace.namespace_schema('gone')")
    assert sql(owner, APPEND) == [(0, 1)]
    sql(owner, "DROP EXTENSION millrace CASCADE")
    sql(owner, "CREATE EXTENSION millrace")
    assert fails(owner, APPEND) == "MR003"
    with pytest.raises(psycopg2.errors.DuplicateSchema, match="millrace.register_namespace"):
        sql(owner, "SELECT millrace.create_namespace(%s)", name)
    assert sql(owner, "SELECT millrace.register_namespace(%s, 'again', repeat('a', 64), '{\"n\": 1}')", name) == [(1,)]
    assert sql(owner,
               "SELECT description, token_hash, metadata FROM millrace.namespaces") == [("again", "a" * 64, {"n": 1})]
    assert sql(owner, APPEND) == [(1, 2)]
    assert sql(owner, "SELECT count(*) FROM millrace.read_category('a')") == [(2,)]
    assert fails(owner, "SELECT millrace.register_namespace(%s)", name) == "MR004"
    assert sql(owner,
               "SELECT indexname FROM pg_indexes WHERE tablename = 'messages' AND indexdef LIKE '%%category%%'") == [
                   ("messages_category", )
               ]


def test_a_schema_comes_from_a_dump_of_it_alone(trusted, owner):  # noqa: F811
    sql(owner, "SELECT millrace.create_namespace('sales')")
    sql(owner, "SET millrace.namespace = 'sales'")
    sql(owner, APPEND)
    sql(trusted.connect(), "CREATE DATABASE restored OWNER owner")
    restored = connect(trusted, "owner", "restored")
    sql(restored, "CREATE EXTENSION millrace")
    dump = subprocess.run([f"{trusted.bin}/pg_dump", "-n", "millrace_sales", "-d",
                           trusted.conninfo("store")], check=True, capture_output=True)
    subprocess.run([f"{trusted.bin}/psql", "-X", "-v", "ON_ERROR_STOP=1", "-d",
                    trusted.conninfo("restored")], input=dump.stdout, check=True, capture_output=True)
    assert sql(restored, "SELECT millrace.register_namespace('sales')") == [(1,)]
    sql(restored, "SET millrace.namespace = 'sales'")
    assert sql(restored, APPEND) == [(1, 2)]


def test_what_is_no_namespace_s_schema_is_not_registered(trusted, owner):  # noqa: F811
    superuser = trusted.connect("store")
    assert fails(owner, "SELECT millrace.register_namespace('nowhere')") == "MR003"
    assert fails(owner, "SELECT millrace.register_namespace(NULL)") == "MR005"
    assert fails(owner, "SELECT millrace.register_namespace('')") == "MR006"
    assert fails(owner, "SELECT millrace.register_namespace('nowhere', token_hash => 'x')") == "MR009"
    sql(owner, ATTACK)
    sql(owner, "SELECT millrace.create_namespace('sales')")
    sql(owner, "DELETE FROM millrace.namespaces")
    sql(owner, "ALTER TABLE millrace_sales.messages RENAME TO kept")
    assert fails(superuser, "SELECT millrace.register_namespace('sales')") == "MR003"
    sql(owner, "CREATE VIEW millrace_sales.messages AS SELECT * FROM millrace_sales.kept WHERE public.attack() = 1")
    assert fails(superuser, "SELECT millrace.register_namespace('sales')") == "MR010"
    assert not taken(superuser)
    sql(owner, "DROP VIEW millrace_sales.messages")
    sql(owner, "ALTER TABLE millrace_sales.kept RENAME TO messages")
    sql(owner, "DROP INDEX millrace_sales.messages_stream")
    assert fails(superuser, "SELECT millrace.register_namespace('sales')") == "MR010"

    # Who may write to the registry and read the table, and owns neither.
    sql(superuser, "SELECT millrace.create_namespace('private')")
    sql(superuser, "DELETE FROM millrace.namespaces")
    sql(superuser,
        "GRANT USAGE ON SCHEMA millrace_private TO owner; GRANT SELECT ON millrace_private.messages TO owner")
    assert fails(owner, "SELECT millrace.register_namespace('private')") == "42501"
    assert sql(superuser, "SELECT millrace.register_namespace('private')") == [(0,)]
