"""A server's own cluster, --database, is the one that the directory has by the name of --cluster."""
import os
import shutil
from contextlib import contextmanager

from placing import clusters  # noqa: F401
from store import ZERO_TOKEN, Cluster, Server, sql, wait_until


def start(clusters, cluster, database, *arguments, wait=False):
    return Server("--database", database, "--directory", clusters.a.conninfo("directory"), "--cluster", cluster,
                  "--token", ZERO_TOKEN, "--workers", "1", *arguments, wait=wait, token=ZERO_TOKEN)


@contextmanager
def away(cluster):
    cluster.stop("immediate")
    try:
        yield
    finally:
        if not os.path.exists(cluster.data / "postmaster.pid"):
            cluster.start()


@contextmanager
def another_string(clusters, name, conninfo):
    """By which the directory reaches a cluster meanwhile."""
    sql(clusters.directory, "SELECT millrace.add_cluster(%s, %s)", name, conninfo)
    try:
        yield
    finally:
        sql(clusters.directory, "SELECT millrace.add_cluster(%s, %s)", name, clusters.names[name].conninfo())


@contextmanager
def copied(clusters, name, follows=False):
    """A server of its own that runs on a base backup of a cluster, as a primary or as a standby."""
    folder = f"{clusters.folder}/copy"
    copy = Cluster(folder).copy_of(clusters.names[name])
    try:
        if not follows:
            os.unlink(copy.data / "standby.signal")
        yield copy.start()
    finally:
        copy.stop("immediate")
        shutil.rmtree(folder)


def ends(server):
    """The log of a server that ends by itself."""
    try:
        assert server.wait(60) == 1
        return server.text
    finally:
        server.kill()


def runs(server):
    """The log of a server that has started."""
    server.stop()
    return server.text


def test_the_name_of_another_cluster_ends_the_start(clusters):
    said = ends(start(clusters, "b", clusters.a.conninfo()))
    assert f"--cluster says b, which is database postgres at {clusters.b.folder} port 5432 in the directory, and " \
        f"--database leads to database postgres at {clusters.a.folder} port 5432, which is cluster a in the directory" \
        in said
    assert "listening" not in said


def test_a_database_that_the_directory_has_by_no_name_ends_the_start(clusters):
    """And it stays as it is."""
    sql(clusters.a.connect(), "CREATE DATABASE beside")
    said = ends(start(clusters, "a", clusters.a.conninfo("beside")))
    assert f"--cluster says a, which is database postgres at {clusters.a.folder} port 5432 in the directory, and " \
        f"--database leads to database beside at {clusters.a.folder} port 5432\n" in said
    assert sql(clusters.a.connect("beside"), "SELECT extname FROM pg_extension") == [("plpgsql",)]


def test_a_restored_backup_beside_its_cluster_ends_the_start(clusters):
    with copied(clusters, "b") as copy:
        said = ends(start(clusters, "b", copy.conninfo()))
        assert "a copy of it" in said and f"at {copy.folder} port" in said and f"at {clusters.b.folder} port" in said


def test_a_standby_is_the_same_cluster_and_so_is_the_one_that_was_promoted(clusters):
    runs(start(clusters, "b", clusters.b.conninfo(), wait=True))  # which a standby can't make
    with copied(clusters, "b", follows=True) as standby:
        assert "could not be checked" not in runs(start(clusters, "b", standby.conninfo(), wait=True))
        with another_string(clusters, "b", standby.conninfo()):
            assert "could not be checked" not in runs(start(clusters, "b", clusters.b.conninfo(), wait=True))
        both = f"host={clusters.b.folder},{standby.folder} user=tester dbname=postgres"
        with away(clusters.b):
            sql(standby.connect(), "SELECT pg_promote()")
            with another_string(clusters, "b", both):
                assert "could not be checked" not in runs(start(clusters, "b", standby.conninfo(), wait=True))


def test_what_a_cluster_was_restored_into_is_that_cluster(clusters):
    """A dump's has another identifier; the directory is told where it is, and the server, too."""
    sql(clusters.b.connect(), "CREATE DATABASE restored")
    restored = clusters.b.conninfo("restored")
    with another_string(clusters, "b", restored):
        assert "could not be checked" not in runs(start(clusters, "b", restored, wait=True))
        assert "--cluster says b" in ends(start(clusters, "b", clusters.b.conninfo()))


def test_a_cluster_that_can_t_be_asked_by_the_directorys_string_is_told(clusters):
    with another_string(clusters, "b", f"host={clusters.folder}/nowhere user=tester dbname=postgres"):
        said = runs(start(clusters, "b", clusters.b.conninfo(), wait=True))
        assert "it could not be checked that --database leads to cluster b" in said
        # But who finds it under another name knows.
        assert "which is cluster a in the directory" in ends(start(clusters, "b", clusters.a.conninfo()))


def test_a_server_whose_database_was_away_ends_when_that_is_another_cluster(clusters):
    beside = f"{clusters.folder}/beside"
    cluster = Cluster(beside).create()
    server = start(clusters, "a", cluster.conninfo(), wait=True)
    try:
        assert "the namespaces of cluster a wait for it" in server.text
        cluster.start()
        assert "--cluster says a" in ends(server)
    finally:
        server.kill()
        cluster.stop("immediate")


def test_a_server_whose_database_was_away_goes_on_when_that_is_its_cluster(clusters):
    with away(clusters.b):
        server = start(clusters, "b", clusters.b.conninfo(), "--admin-listen", "127.0.0.1:0", wait=True)
        try:
            admin = server.admin()
            assert admin.request("GET", "/ready?cluster=b").status == 503
            clusters.b.start()
            wait_until(lambda: admin.request("GET", "/ready?cluster=b").status == 200, "its cluster")
            wait_until(lambda: "--database leads to cluster b" in server.text, "the look")
        finally:
            assert "--cluster says" not in runs(server)


def test_a_start_without_the_directory_goes_by_its_copy(clusters, folder):
    file = folder + "/directory"
    runs(start(clusters, "a", clusters.a.conninfo(), "--directory-copy", file, wait=True))
    clusters.close_directory()
    try:
        runs(start(clusters, "a", clusters.a.conninfo(), "--directory-copy", file, wait=True))
        assert "which is cluster a in the directory" in ends(
            start(clusters, "b", clusters.a.conninfo(), "--directory-copy", file))
    finally:
        clusters.open_directory()
