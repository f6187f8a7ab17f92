"""Clients of eventsourcing's DCB recorder on Postgres, each a process with a connection, as a Python program has them.

    recorder.py FOLDER-OF-THE-SOCKET DATABASE CLIENTS SECONDS WARMUP unique|race PREFIX

What they do and what is printed: src/main.rs.  psycopg is the one with parts in C.
"""
import json
import multiprocessing
import sys
import time

from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.dcb.postgres_tt import PostgresDCBRecorderTT
from eventsourcing.persistence import IntegrityError
from eventsourcing.postgres import PostgresDatastore

DATA = (b"lorem ipsum dolor sit amet, " * 11)[:300]


def recorder(socket, database):
    return PostgresDCBRecorderTT(PostgresDatastore(database, socket, 5432, "tester", ""))


def attempt(store, query, tag, after):
    try:
        store.append([DCBEvent("Loaded", DATA, [tag])], DCBAppendCondition(query, after))
        return True
    except IntegrityError:
        return False


def client(number, socket, database, counts_from, end, race, prefix, results):
    store, latencies, refused, after, attempts = recorder(socket, database), [], 0, None, 0
    while (began := time.monotonic()) < end:
        tag = prefix if race else f"{prefix}-{number}-{attempts}"
        query = DCBQuery([DCBQueryItem(tags=[tag])])
        if race:
            after = store.read(query, after=after).head
            began = time.monotonic()
        accepted = attempt(store, query, tag, after)
        attempts += 1
        if began >= counts_from:
            latencies += [time.monotonic() - began] if accepted else []
            refused += not accepted
    results.put((latencies, refused))


def main():
    socket, database, clients, seconds, warmup, mode, prefix = sys.argv[1:]
    recorder(socket, database).create_table()
    context, seconds = multiprocessing.get_context("fork"), float(seconds)
    results, counts_from = context.Queue(), time.monotonic() + float(warmup)
    processes = [
        context.Process(
            target=client,
            args=(number, socket, database, counts_from, counts_from + seconds, mode == "race", prefix, results))
        for number in range(int(clients))
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=seconds + float(warmup) + 60) for _ in processes]
    for process in processes:
        process.join()
    latencies = sorted(latency for each, _ in found for latency in each)
    quantile = {part: latencies[len(latencies) * part // 100] * 1000 if latencies else 0 for part in (50, 99)}
    print(
        json.dumps({
            "throughput": round(len(latencies) / seconds, 1), "total_ops": len(latencies),
            "refused": sum(refused for _, refused in found), "p50": quantile[50], "p99": quantile[99]
        }))


if __name__ == "__main__":
    main()
