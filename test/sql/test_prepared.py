"""Prepared transactions keep their stream locks and hold readers back, over a crash too."""
import pytest

from store import Cluster, sql, temporary_folder


@pytest.fixture
def prepared_cluster():
    cluster = Cluster(temporary_folder() + "/pg", ["max_prepared_transactions=5"]).create().start()
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    sql(connection, "BEGIN")
    assert sql(connection, "SELECT \"position\" FROM millrace.append('a-1', 'T', '{}')") == [(0,)]
    sql(connection, "PREPARE TRANSACTION 'append'")
    yield cluster
    cluster.stop("immediate")


@pytest.mark.parametrize("end, position, read", [("COMMIT", 1, ["a-1", "a-2", "a-1"]), ("ROLLBACK", 0, ["a-2", "a-1"])])
def test_a_prepared_append_holds_its_stream_until_its_end_even_over_a_crash(prepared_cluster, end, position, read):
    prepared_cluster.stop("immediate")
    prepared_cluster.start()
    one, other = prepared_cluster.connect(), prepared_cluster.connect()
    sql(one, "SET lock_timeout = '100ms'")
    with pytest.raises(Exception, match="lock timeout"):
        sql(one, "SELECT millrace.append('a-1', 'T', '{}')")
    assert sql(one, "SELECT \"position\" FROM millrace.append('a-2', 'T', '{}')") == [(0,)]
    assert sql(one, "SELECT stream_name FROM millrace.read_category('a')") == []

    sql(other, f"{end} PREPARED 'append'")
    assert sql(one, "SELECT \"position\" FROM millrace.append('a-1', 'T', '{}')") == [(position,)]
    assert [name for name, in sql(one, "SELECT stream_name FROM millrace.read_category('a')")] == read
