"""Tokens by SQL: what is refused, who may look at hashes, who may make any, and that a dump brings them."""
import threading

import psycopg2
import pytest

from store import sql


@pytest.fixture
def database(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('app')")
    yield connection
    connection.close()


HASH = "encode(sha256('%s'), 'hex')"


def create(database, name="'t'", rights="'{read}'", token=HASH % "x", expires="NULL", namespace="'app'"):
    return sql(database, f"SELECT millrace.create_token({name}, {rights}, {token}, {expires}, {namespace})")


@pytest.mark.parametrize("arguments, state, message", [
    ({"name": "NULL"}, "MR005", "the name of a token must not be NULL"),
    ({"name": "''"}, "MR006", "the name of a token must not be empty"),
    ({"name": "repeat('ü', 101)"}, "MR007", "the name of a token is too long: 202 bytes, at most 200 are allowed"),
    ({"rights": "NULL"}, "MR005", "the rights of a token must not be NULL"),
    ({"rights": "'{read,NULL}'"}, "MR005", "the rights of a token must not be NULL"),
    ({"rights": "'{{read,NULL}}'"}, "MR005", "the rights of a token must not be NULL"),
    ({"rights": "'{{read,append},{remove,write}}'"}, "MR009", 'right "write" is not known'),
    ({"rights": "'{}'"}, "MR009", "a token without rights is of no use"),
    ({"rights": "'{read,write}'"}, "MR009", 'right "write" is not known'),
    ({"token": "NULL"}, "MR005", "token_hash must not be NULL"),
    ({"token": "'ns_YXBw'"}, "MR009", "token_hash is not the SHA-256 of a token in lowercase hex: it looks like"),
    ({"expires": "now()"}, "MR009", "is in the past"),
    ({"expires": "'-infinity'"}, "MR009", "would have expired at -infinity"),
    ({"expires": "'infinity'"}, "MR009", "expires_at infinity is out of range"),
    ({"namespace": "'none such'"}, "MR003", 'namespace "none such" does not exist'),
    ({"name": "'first'"}, "MR025", 'token "first" of namespace "app" is the one that came with it'),
])
def test_each_bad_argument_of_sql_has_its_sqlstate(database, arguments, state, message):
    with pytest.raises(psycopg2.Error) as error:
        create(database, **arguments)
    assert error.value.pgcode == state and message in str(error.value)
    assert sql(database, "SELECT * FROM millrace.tokens") == []


def test_the_table_takes_no_other_rights_either(database):
    for rights in ("{}", "{write}", "{read,NULL}"):
        with pytest.raises(psycopg2.errors.CheckViolation):
            sql(database, "INSERT INTO millrace.tokens VALUES ('app', 't', 'x', %s)", rights)


def test_tokens_by_sql_are_of_the_selected_namespace(database):
    sql(database, "SET millrace.namespace = 'app'")
    sql(database, f"SELECT millrace.create_token('t', '{{append,read}}', {HASH % 'x'})")
    listed = sql(database, "SELECT name, rights, expires_at FROM millrace.list_tokens()")
    assert listed == [("t", ["read", "append"], None)]
    assert sql(database, "SELECT millrace.revoke_token('t') IS NOT NULL") == [(True,)]
    assert sql(database, "SELECT * FROM millrace.list_tokens()") == []


def test_of_many_sessions_that_make_a_token_of_one_name_one_does(database, cluster):
    def attempt(n):
        connection = cluster.connect()
        try:
            create(connection, token=HASH % n)
            done.append(n)
        except psycopg2.Error as error:
            assert error.pgcode == "MR025", error
        finally:
            connection.close()

    done = []
    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1


def test_a_role_reads_no_hash_and_makes_no_token_without_a_grant(database, cluster):
    create(database)
    sql(database, "CREATE ROLE stranger LOGIN")
    stranger = psycopg2.connect(host=str(cluster.folder), user="stranger", dbname="postgres")
    stranger.autocommit = True
    assert sql(stranger, "SELECT namespace, name, rights FROM millrace.tokens") == [("app", "t", ["read"])]
    for statement in ("SELECT token_hash FROM millrace.tokens", "SELECT * FROM millrace.tokens",
                      "SELECT count(*) FROM millrace.tokens WHERE token_hash < 'a'",
                      f"SELECT millrace.token_rights({HASH % 'x'}, 'app')",
                      f"SELECT millrace.create_token('u', '{{read}}', {HASH % 'u'}, NULL, 'app')",
                      "SELECT millrace.revoke_token('t', 'app')", "SELECT millrace.revoke_token('first', 'app')",
                      "UPDATE millrace.tokens SET rights = '{administer}'", "DELETE FROM millrace.tokens",
                      "COPY millrace.tokens TO STDOUT"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            sql(stranger, statement)
    stranger.close()


def test_the_hashes_and_rights_come_back_with_a_dump(database, cluster):
    create(database, rights="'{read,remove}'", expires="'2099-01-01Z'")
    before = sql(database, "SELECT t::text FROM millrace.tokens t")
    dump = cluster.folder / "dump"
    cluster._run("pg_dump", "-h", str(cluster.folder), "-U", "tester", "-Fc", "-f", str(dump), "postgres")
    sql(database, "CREATE DATABASE restored")
    cluster._run("pg_restore", "-h", str(cluster.folder), "-U", "tester", "-d", "restored", "--exit-on-error", dump)
    restored = cluster.connect("restored")
    assert sql(restored, "SELECT t::text FROM millrace.tokens t") == before
    restored.close()
