"""What the server allocates for a request, by the build that records every allocation (sidecar/README.md,
"Profiles")."""
import json

from measure import at_most, row, temporary_folder
from pprof import Profile
from profile_baseline import RECORDING, Durable, finish

LIMIT = 1024  # bytes a request
FIGURES = ("allocated_10", )
# Names of loads, their workers and flags.
MIXED = "nine writes to one read"
SHORT, LONG = "writes of 300 bytes", "writes of 3,000 bytes"
LOADS = [(MIXED, 10, ()), (MIXED, 64, ()), (SHORT, 10, ("--mix", "1:0")), (LONG, 10, ("--mix", "1:0", "--size", 3000))]


def allocated(server, folder, workers, seconds, flags):
    """Bytes an operation, those of libpq, and how many allocations that were."""
    before, after = folder / "before.prof", folder / "after.prof"
    finish(server.load(seconds / 2, 0, ["--workers", workers, *flags], folder / "first.json"))  # fills the buffers
    server.debug("pprof/allocs", before)
    finish(server.load(seconds, 0, ["--workers", workers, *flags], folder / "load.json"))
    operations = json.loads((folder / "load.json").read_text())["total_ops"]
    server.debug("pprof/allocs", after)
    profile = Profile(RECORDING, after, before)
    total, by_function = profile.bytes()
    libpq = sum(each.flat for each in by_function if each.name.lower().startswith("pq"))
    return total / operations, libpq / operations, profile.objects()[0] / operations


def checks(load, workers, total):
    return [at_most(f"memory, {workers} workers: bytes allocated a request", total, LIMIT)] if load == MIXED else []


def measure(options):
    section = {
        "title": "Memory for a request",
        "columns": ["load", "workers", "bytes", "of them libpq's", "ours", "allocations"], "rows": [],
        "about": "What `millrace serve` allocates for one request. Appends and reads are answered without libpq, which "
                 "keeps an answer in a PGresult of blocks of 2 kB: the bytes are used where they were received. Nor "
                 "does it grow with the payload of a write, which goes from the buffer in which it arrived into that "
                 "of a batch."
    }
    if not RECORDING.exists():
        return {**section, "skipped": "the build that records allocations needs gperftools: test/deps.sh --profiling"}
    with temporary_folder() as folder:
        folder.chmod(0o755)
        server = Durable(RECORDING, folder)
        try:
            ours, requests = {}, {}
            for load, workers, flags in LOADS:
                total, libpq, times = allocated(server, folder, workers, options.seconds, flags)
                ours[load], requests[load, workers] = total - libpq, total
                section["rows"].append(
                    row(load, workers, total, libpq, total - libpq, times, checks=checks(load, workers, total)))
            section["rows"][-1]["checks"] = [
                at_most("memory, a write: bytes allocated for 2,700 more of payload", max(0, ours[LONG] - ours[SHORT]),
                        27)
            ]
            section["figures"] = {"allocated_10": requests[MIXED, 10]}
        finally:
            server.stop()
    return section
