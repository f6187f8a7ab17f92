"""NULL for any argument of any function: an answer, or an error that names it."""
import psycopg2

from store import sql

# Something for each type, which the function takes or refuses.
VALUES = {
    "uuid[]": "'{}'", "bytea[]": "'{}'",
    "text": "'default'", "character varying": "'a-1'", "bigint": "1", "xid8": "'3'", "integer": "1", "boolean": "true",
    "interval": "'1 min'", "uuid": "gen_random_uuid()", "jsonb": "'{}'", "text[]": "'{T}'", "bytea": "'\\x0100000000'",
    "regclass": "'pg_class'", "timestamp with time zone": "now()", "internal": None,
    "name": "'postgres'", "inet": "'127.0.0.1'",
    "millrace.new_message[]": "ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[]",
    "millrace.stream_append[]": "ARRAY[('a-1', ARRAY[('T', '{}', NULL, NULL)]::millrace.new_message[], "
                                "NULL)]::millrace.stream_append[]"
}
FUNCTIONS = """SELECT oid::regproc::text, prokind = 'p',
        (SELECT coalesce(array_agg(format_type(t, NULL) ORDER BY n), '{}')
         FROM unnest(proargtypes::oid[]) WITH ORDINALITY a (t, n))
    FROM pg_proc WHERE pronamespace IN ('millrace'::regnamespace, 'message_store'::regnamespace) ORDER BY 1"""


def test_every_function_stands_null_for_every_argument(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.install_message_db()")
    sql(connection, "SELECT millrace.append('a-1', 'T', '{}')")
    calls, strange = 0, []
    for name, is_procedure, types in sql(connection, FUNCTIONS):
        if "internal" in types:
            continue
        for nulls in [set(range(len(types))), *({number} for number in range(len(types)))]:
            arguments = ", ".join(f"{'NULL' if number in nulls else VALUES[each]}::{each}"
                                  for number, each in enumerate(types))
            call = f"{'CALL' if is_procedure else 'SELECT'} {name}({arguments})"
            calls += 1
            try:
                with connection.cursor() as cursor:
                    cursor.execute(call)
            except psycopg2.Error as error:
                assert error.pgcode, f"{call}: {error}"
                if error.pgcode.startswith("XX"):
                    strange.append((call, str(error)))
    assert not strange
    assert calls > 100
