"""Redacting: whose right it takes and with whose rights it runs, and that its mark is nobody else's."""
import json
import struct
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from sweeping import refused

from store import new_id, sql, wait_until

MARKED = '{"millrace.redacted": true}'
REDACT = "SELECT millrace.redact(ARRAY(SELECT id FROM millrace.read_stream(%s)))"


@pytest.fixture
def schema(connection, namespace):
    for n in range(3):
        sql(connection, "SELECT millrace.append('a-1', 'T', %s, '{\"by\": \"Bo\"}')", json.dumps({"n": n}))
    return "millrace_" + namespace


def content(connection):
    return sql(connection, "SELECT data, metadata FROM millrace.read_all()")


GONE = [({}, {"millrace.redacted": True})] * 3


# Rights


@pytest.mark.parametrize("right", ["UPDATE", "UPDATE (data, metadata)"])
def test_the_right_to_update_the_content_is_enough(connection, schema, role, right):
    sql(connection, f"GRANT {right} ON {schema}.messages TO {role}; SET ROLE {role}")
    assert sql(connection, REDACT, "a-1") == [(3,)]
    assert content(connection) == GONE
    assert sql(connection, "SELECT redacted FROM millrace.redact_stream('a-1')") == [(3,)]


@pytest.mark.parametrize("right", ["INSERT, DELETE", "UPDATE (data)", "UPDATE (metadata)", "UPDATE (type, time)"])
def test_a_role_that_may_not_update_it_redacts_nothing(connection, schema, role, right):
    before = content(connection)
    sql(connection, f"GRANT {right} ON {schema}.messages TO {role}; SET ROLE {role}")
    for query in (REDACT.replace("%s", "'a-1'"), "SELECT millrace.redact('{}')",
                  "SELECT millrace.redact_stream('a-1')"):
        refused(connection, "42501", query)
    assert content(connection) == before


def test_row_security_is_refused(connection, schema, role):
    before = content(connection)
    sql(connection, f"GRANT UPDATE ON {schema}.messages TO {role}; "
                    f"ALTER TABLE {schema}.messages ENABLE ROW LEVEL SECURITY; "
                    f"CREATE POLICY p ON {schema}.messages USING (true)")
    ids = [row[0] for row in sql(connection, f"SELECT id FROM {schema}.messages")]
    sql(connection, f"SET ROLE {role}")
    refused(connection, "MR010", "SELECT millrace.redact(%s::uuid[])", ids)
    sql(connection, "RESET ROLE")
    assert content(connection) == before


def test_triggers_see_what_a_role_redacts_as_the_table_s_owner(connection, schema, role):
    sql(connection, f"CREATE TABLE {schema}.log (who text, was jsonb); CREATE FUNCTION {schema}.note() RETURNS trigger "
                    f"LANGUAGE plpgsql AS $$ BEGIN INSERT INTO {schema}.log VALUES (current_user, OLD.data); "
                    f"RETURN NEW; END $$; CREATE TRIGGER note BEFORE UPDATE ON {schema}.messages FOR EACH ROW "
                    f"EXECUTE FUNCTION {schema}.note(); GRANT UPDATE ON {schema}.messages TO {role}; SET ROLE {role}")
    assert sql(connection, REDACT, "a-1") == [(3,)]
    sql(connection, "RESET ROLE")
    seen = sql(connection, f"SELECT who = tableowner, was FROM {schema}.log, pg_tables WHERE schemaname = %s AND "
                           "tablename = 'messages' ORDER BY was", schema)
    assert seen == [(True, {"n": n}) for n in range(3)]


def test_a_trigger_that_keeps_a_message_keeps_all(connection, schema):
    before = content(connection)
    sql(connection, f"CREATE FUNCTION {schema}.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN "
                    f"OLD.\"position\" = 1 THEN NULL ELSE NEW END; END $$; CREATE TRIGGER keep BEFORE UPDATE ON "
                    f"{schema}.messages FOR EACH ROW EXECUTE FUNCTION {schema}.keep()")
    assert refused(connection, "MR027", REDACT, "a-1").message_primary == "not all of the messages could be redacted"
    assert content(connection) == before


def waits_for(connection, pid):
    """The locks of streams that a session has, and the one it waits for, as they are ordered."""
    rows = sql(connection, "SELECT granted, classid::bigint << 32 | objid::bigint FROM pg_locks WHERE pid = %s AND "
                           "locktype = 'advisory' AND objsubid = 19795", pid)
    waited = [key % 2**64 for granted, key in rows if not granted]
    return sorted(key % 2**64 for granted, key in rows if granted), waited[0] if waited else None


def test_streams_are_locked_in_the_order_in_which_appends_lock_them(connection, schema, another):
    """Or the two would deadlock."""
    streams = [f"o-{n}" for n in range(8)]
    for stream in streams:
        sql(connection, "SELECT millrace.append(%s, 'T', '{}')", stream)
    ids = [row[0] for row in sql(connection, "SELECT id FROM millrace.read_category('o')")]
    holder, redactor = another(), another()
    holder.autocommit = False
    pid = sql(redactor, "SELECT pg_backend_pid()")[0][0]
    for stream in streams:
        sql(holder, "SELECT millrace.append(%s, 'T', '{}')", stream)
        with ThreadPoolExecutor(1) as pool:
            redaction = pool.submit(sql, redactor, "SELECT millrace.redact(%s::uuid[])", ids)
            wait_until(lambda: waits_for(connection, pid)[1] is not None, "it waits for the stream")
            held, waited = waits_for(connection, pid)
            holder.rollback()
            assert redaction.result() == [(8,)]
        assert not held or held[-1] < waited, stream


def test_no_tag_is_added(connection, schema):
    """Not even by what comes in the place of the content: conditions rest on tags."""
    same = new_id()
    sql(connection, "SELECT millrace.append('t-1', 'T', '{}', '{\"tags\": [\"a\", \"b\"]}', id => %s)", same)
    redact = "SELECT millrace.redact(ARRAY[%s]::uuid[], '{\"tags\": [\"new\"]}', %s)"
    read = "SELECT data, metadata FROM millrace.get_message(%s)"
    data = {"tags": ["new"]}
    sql(connection, redact, same, True)
    assert sql(connection, read, same) == [(data, {"tags": ["a", "b"], "millrace.redacted": True})]
    sql(connection, redact, same, False)
    sql(connection, redact, same, True)
    assert sql(connection, read, same) == [(data, {"millrace.redacted": True})]


def test_a_tagged_message_that_comes_meanwhile_lies_above_the_head(connection, schema, namespace, another):
    """One that commits behind the read, while the others are being redacted."""
    append = "SELECT global_position FROM millrace.append(%s, 'T', '{}', '{\"tags\": [\"p:1\"]}')"
    sql(connection, "SELECT millrace.index_tags(%s)", namespace)
    first = sql(connection, append, "p-1")[0][0]
    holder, redactor = another(), another()
    holder.autocommit = False
    sql(holder, append, "p-1")  # so the redaction, which has read, waits for the stream
    with ThreadPoolExecutor(1) as pool:
        query = "SELECT redacted, next_position, head FROM millrace.redact_tagged('p:1')"
        redaction = pool.submit(sql, redactor, query)
        pid = redactor.get_backend_pid()
        wait_until(lambda: waits_for(connection, pid)[1] is not None, "it waits for the stream")
        later = sql(connection, append, "p-2")[0][0]
        holder.commit()
        assert redaction.result() == [(1, None, first)]
    left = sql(connection, "SELECT global_position FROM millrace.read_query('{\"items\": [{\"tags\": [\"p:1\"]}]}') "
                           "WHERE metadata->'millrace.redacted' IS NULL")
    assert left == [(first + 1,), (later,)]


def test_child_tables_keep_their_rows(connection, schema):
    sql(connection, f"CREATE TABLE {schema}.child () INHERITS ({schema}.messages); "
                    f"INSERT INTO {schema}.child SELECT * FROM ONLY {schema}.messages")
    assert sql(connection, REDACT, "a-1") == [(3,)]
    assert content(connection) == GONE
    assert sql(connection, f"SELECT data FROM {schema}.child ORDER BY \"position\"") == [({"n": n},) for n in range(3)]


# The mark


def string(text):
    return struct.pack(">I", len(text.encode())) + text.encode() + b"\0"


def frame(namespace, metadata):
    return (b"\1" + struct.pack(">I", 1) + string(namespace) + struct.pack(">I", 1) + string("a-1") +
            struct.pack(">qI", -2**63, 1) + uuid.uuid4().bytes + string("T") + string("{}") + string(metadata))


@pytest.mark.parametrize("metadata", [
    MARKED, '{"millrace.redacted": false}', '{"millrace.redacted": null, "a": 1}', '{"millrace\\u002eredacted": true}',
    '{"tags": ["x"], "millrace.redacted": true}'])
def test_no_append_takes_the_mark(connection, schema, namespace, metadata):
    before = content(connection)
    text = 'metadata has "millrace.redacted", as only that of redacted messages does'
    for query in ("SELECT millrace.append('a-1', 'T', '{}', %s)",
                  "SELECT millrace.append_messages('a-1', ARRAY[('T', '{}', NULL, NULL), ('T', '{}', %s, NULL)]"
                  "::millrace.new_message[])",
                  "SELECT millrace.append_streams(ARRAY[('b-1', ARRAY[('T', '{}', %s, NULL)]::millrace.new_message[], "
                  "NULL)]::millrace.stream_append[])"):
        assert refused(connection, "MR024", query, metadata).message_primary == text
    assert sql(connection, "SELECT sqlstate, message FROM millrace.append_batch(%s)",
               frame(namespace, metadata)) == [("MR024", text)]
    assert content(connection) == before


@pytest.mark.parametrize("metadata", ['{"a": {"millrace.redacted": true}}', '{"millrace.redacte": true}',
                                      '{"tags": ["millrace.redacted"]}', '{"Millrace.redacted": true}'])
def test_what_only_looks_like_the_mark_is_taken_and_compared(connection, schema, metadata):
    same = new_id()
    query = "SELECT \"position\" FROM millrace.append('a-1', 'T', %s, %s, id => %s)"
    assert sql(connection, query, "{}", metadata, same) == [(3,)]
    refused(connection, "MR002", query, '{"other": 1}', metadata, same)
    assert sql(connection, query, "{}", metadata, same) == [(3,)]


def test_a_retry_of_a_redacted_message_with_its_own_metadata_is_known(connection, schema):
    same = new_id()
    query = "SELECT \"position\" FROM millrace.append('b-1', 'T', '{\"n\": 1}', %s, id => %s)"
    assert sql(connection, query, '{"by": "Bo"}', same) == [(0,)]
    sql(connection, REDACT, "b-1")
    assert sql(connection, query, '{"by": "Bo"}', same) == [(0,)]
    refused(connection, "MR024", query, MARKED, same)


def imported(connection, namespace, metadata, n=10):
    record = (uuid.uuid4().bytes + string("i-1") + string("T") + struct.pack(">qqq", n, n, 0) + string("{}") +
              string(metadata))
    return sql(connection, "SELECT imported, message FROM millrace.import_batch(%s, %s)", namespace,
               b"\1" + struct.pack(">I", 1) + record)


def test_only_who_may_redact_imports_what_is_marked(connection, schema, namespace, role):
    sql(connection, f"GRANT INSERT ON {schema}.messages TO {role}; "
                    f"GRANT ALL ON SEQUENCE {schema}.messages_global_position_seq TO {role}; SET ROLE {role}")
    assert imported(connection, namespace, "{}") == [(1, None)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        imported(connection, namespace, MARKED, 11)
    sql(connection, f"RESET ROLE; GRANT UPDATE (data, metadata) ON {schema}.messages TO {role}; SET ROLE {role}")
    assert imported(connection, namespace, MARKED, 11) == [(1, None)]


def test_message_db_s_clients_do_not_write_it(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace; SELECT millrace.install_message_db()")
    user = psycopg2.connect(cluster.conninfo() + " user=message_store options='-c search_path=message_store'")
    user.autocommit = True
    write = "SELECT write_message(%s::varchar, 'a-1'::varchar, 'T'::varchar, %s::jsonb, %s::jsonb)"
    same = new_id()
    assert sql(user, write, same, '{"n": 1}', '{"by": "Bo"}') == [(0,)]
    refused(user, "MR024", write, new_id(), '{}', MARKED)
    refused(user, "42501", "SELECT millrace.redact(ARRAY[%s]::uuid[])", same)
    sql(connection, "SELECT millrace.redact(ARRAY[%s]::uuid[])", same)
    refused(user, "23505", write, same, '{"n": 1}', '{"by": "Bo"}')  # as of any other message
    assert sql(user, "SELECT data, metadata FROM get_stream_messages('a-1')") == [("{}", MARKED)]
    user.close()
