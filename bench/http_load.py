"""The load over HTTP, durable and not, by number of workers."""
from bulk import Memory
from measure import at_least, at_most, load, row, serve, serve_durable, sql

WORKERS = (1, 10, 64, 256)
COLUMNS = ["durable", "workers", "operations/s", "average ms", "p50 ms", "p99 ms", "errors", "server MiB"]
MEMORY_LIMIT = 32  # MiB


def middle(runs):
    """The run with the median throughput."""
    return sorted(runs, key=lambda run: run["throughput"])[len(runs) // 2]


def checks(durable, workers, run):
    name = f"load, {'durable' if durable else 'not durable'}, {workers} workers"
    throughput, latency = run["throughput"], []
    limit = {(True, 10): 20000, (True, 64): 25000, (False, 64): 30000}.get((durable, workers))
    if durable and workers == 10:
        latency = [at_most(f"{name}: average ms", run["avg_latency"], 0.5)]
    elif durable and workers == 64:
        latency = [at_most(f"{name}: p99 ms", run["p99"], 10)]
    found = ([at_least(f"{name}: operations/s", throughput, limit)] if limit else []) + latency
    if durable and workers == 256:
        found.append(at_most(f"{name}: server MiB", run["memory"], MEMORY_LIMIT))
    return [*found, at_most(f"{name}: errors", run["errors"], 0)] if run["errors"] else found


def with_memory(server, memory, workers, seconds, durable):
    sql(server.postgres(), "CHECKPOINT")
    memory.phase()
    run = load(server, workers, seconds, durable="yes" if durable else "no")
    return {**run, "memory": memory.phase()}


def rows_of(kind, server, options):
    """After a first load, and with a checkpoint before each, files of the WAL are used again, as in a server that has
    run for a while."""
    memory = Memory(server.process.pid)
    load(server, WORKERS[-1], 2 * options.seconds)
    for workers in WORKERS:
        runs = [with_memory(server, memory, workers, options.seconds, kind) for _ in range(options.rounds)]
        run = middle(runs)
        run["errors"] = sum(each["errors"] for each in runs)
        run["memory"] = max(each["memory"] for each in runs)
        yield row("yes" if kind else "no", workers, run["throughput"], run["avg_latency"], run["p50"], run["p99"],
                  run["errors"], run["memory"], checks=checks(kind, workers, run))


def measure(options):
    # Not side by side: what the volatile one leaves to be written to the disk is in the way of the other's flushes.
    with serve_durable() as server:
        rows = list(rows_of(True, server, options))
    with serve("--test-mode") as server:
        rows += rows_of(False, server, options)
    return {
        "title": "The load over HTTP",
        "about": "`make bench-load`: 100 streams of one category, nine `stream.write` of 300 bytes to one `stream.get` "
                 "of ten messages, each worker waiting for its answer. A checkpoint before each run, and another load "
                 "before the first, so that files of the WAL are used again as in a server that has run for a while. "
                 "The row is the run with the median throughput, `errors` the sum and `server MiB` the most resident "
                 "memory of all its runs. Not durable: `--test-mode`.",
        "columns": COLUMNS, "rows": rows
    }
