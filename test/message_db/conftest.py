"""A Postgres with two databases: `theirs` holds Message DB, `ours` its interface by Millrace."""
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import peer  # noqa: E402
from store import Cluster, sql, temporary_folder  # noqa: E402


@pytest.fixture(scope="module")
def message_db():
    folder = temporary_folder()
    cluster = Cluster(folder + "/pg").create().start()
    sql(cluster.connect(), "CREATE DATABASE ours")
    connection = cluster.connect("ours")
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.install_message_db()")
    yield cluster
    cluster.stop("immediate")
    shutil.rmtree(folder)


@pytest.fixture
def ours(message_db):
    connection = peer.as_client(message_db, "ours")
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def package():
    folder = temporary_folder()
    yield peer.fetch(folder)
    shutil.rmtree(folder)
