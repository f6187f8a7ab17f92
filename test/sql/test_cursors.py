"""A cursor's rights are those of the role that opened it, as for a table, whichever role fetches from it."""
import shutil

import psycopg2
import pytest

from store import Cluster, sql, temporary_folder

READS = [
    "millrace.read_all()", "millrace.read_stream('a-1')", "millrace.read_category('a')",
    "message_store.get_category_messages('a')", "message_store.get_stream_messages('a-1')"
]


@pytest.fixture(scope="module")
def database():
    """Role `reader` may read namespace default, role `stranger` may not; each has a function that fetches and one that
    opens, for every role to call."""
    folder = temporary_folder()
    cluster = Cluster(folder + "/pg").create().start()
    admin = cluster.connect()
    for statement in ("CREATE EXTENSION millrace", "SELECT millrace.install_message_db()",
                      "SELECT millrace.create_namespace('other')", "SELECT millrace.append('a-1', 'T', '{\"n\": 1}')",
                      "CREATE ROLE reader", "CREATE ROLE stranger", "GRANT message_store TO reader",
                      "GRANT USAGE ON SCHEMA message_store TO stranger", "SET millrace.namespace = 'other'",
                      "SELECT millrace.append('a-1', 'T', '{\"n\": 2}')", "RESET millrace.namespace"):
        sql(admin, statement)
    for role in ("reader", "stranger"):
        sql(
            admin, f"""CREATE FUNCTION {role}_opens(read text) RETURNS refcursor LANGUAGE plpgsql SECURITY DEFINER AS $$
            DECLARE opened refcursor := 'opened';
            BEGIN OPEN opened FOR EXECUTE 'SELECT data::text FROM ' || read; RETURN opened; END $$""")
        sql(
            admin,
            f"""CREATE FUNCTION {role}_fetches(opened refcursor) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
            DECLARE found text; BEGIN FETCH opened INTO found; RETURN found; END $$""")
        sql(admin, f"ALTER FUNCTION {role}_opens OWNER TO {role}")
        sql(admin, f"ALTER FUNCTION {role}_fetches OWNER TO {role}")
    yield admin
    cluster.stop("immediate")
    shutil.rmtree(folder)


@pytest.fixture
def admin(database):
    """A transaction that is rolled back."""
    sql(database, "BEGIN")
    yield database
    sql(database, "ROLLBACK")


@pytest.mark.parametrize("read", READS)
def test_who_may_not_read_gets_no_rows_by_the_fetch_of_one_who_may(admin, read):
    sql(admin, "SET LOCAL ROLE stranger")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        sql(admin, f"DECLARE opened CURSOR FOR SELECT data::text FROM {read}")
        sql(admin, "SELECT reader_fetches('opened')")


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("fetch", ["FETCH opened", "SELECT stranger_fetches('opened')"])
def test_who_is_given_a_cursor_fetches_with_the_rights_of_the_one_who_opened_it(admin, read, fetch):
    sql(admin, "SET LOCAL ROLE stranger")
    sql(admin, "SELECT reader_opens(%s)", read)
    assert sql(admin, fetch) == [('{"n": 1}',)]
    assert sql(admin, "SELECT current_user") == [("stranger",)]


def test_a_cursor_reads_the_namespace_that_was_selected_when_it_was_opened(admin):
    sql(admin, "ALTER FUNCTION reader_opens SET millrace.namespace = 'other'")
    sql(admin, "GRANT USAGE ON SCHEMA millrace_other TO reader")
    sql(admin, "GRANT SELECT ON millrace_other.messages TO reader")
    sql(admin, "SELECT reader_opens('millrace.read_all()')")
    assert sql(admin, "FETCH opened") == [('{"n": 2}',)]
    sql(admin, "SET LOCAL millrace.namespace = 'other'")
    sql(admin, "DECLARE mine CURSOR FOR SELECT data::text FROM millrace.read_category('a')")
    sql(admin, "RESET millrace.namespace")
    assert sql(admin, "FETCH mine") == [('{"n": 2}',)]
