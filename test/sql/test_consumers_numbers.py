"""Numbers of claims when Postgres dies with WAL that is not on the disk."""
from store import Cluster, sql
from test_consumers import append, create, is_lost, next_claim, settle

CLAIMS = 100


def given_before_a_crash(cluster, round):
    """Gives claims of which the crash takes back the last ones; returns their numbers, and those that are left."""
    connection = cluster.connect()
    for number in range(CLAIMS + 2):  # one is left where the crash takes back nothing
        append(connection, f"a-{round}-{number}")
    first, _ = next_claim(connection, 1)
    settle(connection, first)  # which is on the disk, so the sequence there is not behind the clock
    given = [first] + [next_claim(connection, 1)[0] for _ in range(CLAIMS)]
    cluster.stop("immediate")
    cluster.start()
    left = sql(cluster.connect(), "SELECT claim FROM millrace_n.consumer_claims")
    return given, {number for number, in left}


def test_no_number_is_given_again_after_an_immediate_stop(folder):
    # Nothing but a commit that waits for the disk writes WAL; fsync may be off, as the machine goes on.
    cluster = Cluster(folder + "/pg", ["wal_writer_delay=10s", "wal_writer_flush_after=1GB", "bgwriter_delay=10s"])
    cluster.create().start()
    try:
        connection = cluster.connect()
        sql(connection, "CREATE EXTENSION millrace")
        sql(connection, "SELECT millrace.create_namespace('n')")
        create(connection)
        for round in range(5):
            given, left = given_before_a_crash(cluster, round)
            assert given == sorted(set(given))
            again, _ = next_claim(cluster.connect(), 1)
            assert again and again > given[-1], f"{again} was given before: {given}"
            lost = [number for number in given[1:] if number not in left]
            assert all(is_lost(cluster.connect(), number) for number in lost)
            if lost:
                break  # else the WAL writer was quicker
        assert lost, "no crash has taken back a claim"
    finally:
        cluster.stop("immediate")
