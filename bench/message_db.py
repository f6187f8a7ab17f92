#!/usr/bin/python3
"""Millrace's Message DB functions beside Message DB's own: the same calls, by pgbench, on one durable server.

    make bench-message-db [ARGS='--seconds 5 --rounds 5']

Two databases on one server, each with 100 streams of one category: `theirs` with the package from the npm registry,
`ours` with millrace.install_message_db(). Each measurement runs `rounds` times in turn, and the medians are compared. The
last line is the ratios as JSON.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "test"), str(ROOT / "test" / "message_db")]
sys.dont_write_bytecode = True

import peer  # noqa: E402
from store import Cluster, drop_root, sql  # noqa: E402


DATA = ('{"account": "4711", "amount": 1234.56, "currency": "EUR", "note": "' + "lorem ipsum dolor sit amet " * 8 + '"}')

WRITE = f"""\\set s random(1, 100)
SELECT message_store.write_message(gen_random_uuid()::varchar, 'account-' || :s, 'Deposited', '{DATA}');
"""
INSERT = f"""\\set s random(1, 100)
INSERT INTO message_store.messages (id, stream_name, position, type, data) VALUES (gen_random_uuid(), 'plain-' || :s, nextval('plain_position'), 'Deposited', '{DATA}');
"""
READS = {
    "get_stream_messages of 10": """\\set s random(1, 100)
SELECT * FROM message_store.get_stream_messages('account-' || :s, batch_size => 10);
""",
    "get_last_stream_message": """\\set s random(1, 100)
SELECT * FROM message_store.get_last_stream_message('account-' || :s);
""",
    "get_category_messages of 1000": """\\set p random(1, 50000)
SELECT * FROM message_store.get_category_messages('account', :p, 1000);
""",
    "get_category_messages of 1000, group of 4": """\\set p random(1, 50000)
\\set m random(0, 3)
SELECT * FROM message_store.get_category_messages('account', :p, 1000, consumer_group_member => :m, consumer_group_size => 4);
""",
}
FILL = f"""INSERT INTO message_store.messages (stream_name, position, type, data)
SELECT 'account-' || 1 + n %% 100, n / 100, 'Deposited', '{DATA}' FROM generate_series(0, 99999) n"""


class Bench:
    def __init__(self, cluster, folder, seconds, rounds):
        self.cluster, self.folder, self.seconds, self.rounds = cluster, folder, seconds, rounds

    def pgbench(self, database, script, clients):
        """Transactions per second. Functions are found by search_path in `theirs`, which needs it."""
        path = self.folder / "script.sql"
        path.write_text(script)
        env = {**os.environ, "PGOPTIONS": "-c search_path=message_store,public"}
        done = subprocess.run(["pgbench", "-h", str(self.cluster.folder), "-U", "tester", "-n", "-M", "prepared", "-c", str(clients),
                               "-j", str(min(clients, 2)), "-T", str(self.seconds), "-f", str(path), database],
                              env=env, capture_output=True, text=True, check=True)
        return float(re.search(r"tps = ([\d.]+)", done.stdout).group(1))

    def compare(self, name, first, second, clients):
        """Both sides in turn, (database, script) each; returns name, medians and their ratio."""
        rates = ([], [])
        for _ in range(self.rounds):
            for side, (database, script) in zip(rates, (first, second)):
                side.append(self.pgbench(database, script, clients))
        ours, theirs = map(statistics.median, rates)
        print(f"| {name} | {clients} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.2f} |", flush=True)
        return ours / theirs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    drop_root()
    folder = Path(tempfile.mkdtemp(prefix="m-", dir="/var/tmp"))
    os.environ["HOME"] = str(folder)

    cluster = Cluster(folder / "pg", ["fsync=on", "shared_buffers=512MB", "max_wal_size=4GB"])
    try:
        cluster.create().start()
        peer.install(peer.fetch(folder), cluster, "theirs")
        sql(cluster.connect(), "CREATE DATABASE ours")
        ours, theirs = cluster.connect("ours"), cluster.connect("theirs")
        sql(ours, "CREATE EXTENSION millrace")
        sql(ours, "SELECT millrace.install_message_db()")
        sql(ours, "CREATE SEQUENCE plain_position CACHE 100")
        for connection in (ours, theirs):
            sql(connection, "SET search_path = message_store, public")
            sql(connection, FILL.replace("%%", "%"))
            sql(connection, "VACUUM ANALYZE message_store.messages")

        bench = Bench(cluster, folder, options.seconds, options.rounds)
        print("| what | clients | Millrace /s | Message DB /s | ratio |\n|---|---|---|---|---|", flush=True)
        ratios = {name: bench.compare(name, ("ours", script), ("theirs", script), 10) for name, script in READS.items()}
        ratios["write_message"] = bench.compare("write_message", ("ours", WRITE), ("theirs", WRITE), 10)
        for clients in (1, 32):
            ratios[f"write_message, {clients} clients"] = bench.compare("write_message", ("ours", WRITE), ("theirs", WRITE), clients)
        ratios["write_message to plain INSERT, 1 client"] = bench.compare("write_message / a plain INSERT into our table", ("ours", WRITE), ("ours", INSERT), 1)
        print(json.dumps({name: round(ratio, 2) for name, ratio in ratios.items()}))
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
