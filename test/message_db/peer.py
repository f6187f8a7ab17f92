"""The real Message DB, from the npm registry: a peer to compare with, never part of the repository."""
import os
import shutil
import subprocess
from pathlib import Path

import psycopg2
import pytest

from store import PG_BIN

PACKAGE = "@eventide/message-db@1.3.1"


def fetch(folder):
    """Returns the package's database folder; skips the test, saying why, where it can't be had."""
    if os.environ.get("MESSAGE_DB_FOLDER"):
        return Path(os.environ["MESSAGE_DB_FOLDER"])
    if not shutil.which("npm"):
        pytest.skip(f"NOT COMPARED WITH MESSAGE DB: npm is not installed, so {PACKAGE} can't be fetched")
    try:
        done = subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True,
                              env={**os.environ, "HOME": str(folder)}, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip(f"NOT COMPARED WITH MESSAGE DB: {PACKAGE} did not come within two minutes")
    if done.returncode != 0:
        pytest.skip(f"NOT COMPARED WITH MESSAGE DB: {PACKAGE} can't be fetched: {done.stderr.strip()[-300:]}")
    shutil.unpack_archive(Path(folder) / done.stdout.split()[-1], folder, "gztar")
    return Path(folder) / "package" / "database"


def install(package, cluster, database):
    """Runs the package's own installer."""
    run_script(package, cluster, database, "install.sh")


def run_script(package, cluster, database, script):
    env = {**os.environ, "PATH": f"{PG_BIN}:{os.environ['PATH']}", "DATABASE_NAME": database,
           "PGHOST": str(cluster.folder), "PGUSER": "tester", "PGDATABASE": database}
    if script == "install.sh":
        env.pop("PGDATABASE")
    env.pop("PGOPTIONS", None)
    done = subprocess.run(["bash", str(package / script)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def as_client(cluster, database):
    """A connection as Message DB's clients make it: by the role, with its default search_path."""
    connection = psycopg2.connect(f"host={cluster.folder} user=message_store dbname={database}")
    connection.autocommit = True
    return connection
