"""How long sessions hold the append lock: perf's probes where the extension takes it and gives it back, as root."""
import re
import shutil
import subprocess

from measure import PG_BIN, privileged

GROUP = "millrace_append_lock"
EVENT = re.compile(r"(\d+)\s+([\d.]+):\s+" + GROUP + r":(taken|given_back)")


def perf(*words, check=True):
    done = subprocess.run(["perf", *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"perf {words[0]}: {done.stderr[-500:]}")
    return done.stdout


def library():
    folder = subprocess.run([f"{PG_BIN}/pg_config", "--pkglibdir"], check=True, capture_output=True, text=True).stdout
    return f"{folder.strip()}/millrace.so"


def durations(script):
    """Microseconds between taking and giving back, by session, in rising order."""
    taken, found = {}, []
    for session, time, event in EVENT.findall(script):
        if event == "taken":
            taken[session] = float(time)
        elif session in taken:
            found.append((float(time) - taken.pop(session)) * 1e6)
    return sorted(found)


def held(folder, seconds):
    """What sessions held it for within so many seconds; None where there is no perf, or we are not root.

    A probe takes a microsecond or two, of which the figures have about one.
    """
    with privileged() as root:
        if not root or not shutil.which("perf"):
            return None
        perf("probe", "-q", "--del", f"{GROUP}:*", check=False)
        try:
            perf("probe", "-q", "-x", library(), "--add", f"{GROUP}:taken=StoreLockAppends%return", "--add",
                 f"{GROUP}:given_back=StoreUnlockAppends")
            perf("record", "-q", "-a", "-o", folder / "append-lock", "-e", f"{GROUP}:*", "sleep", seconds)
            return durations(perf("script", "-i", folder / "append-lock", "-F", "tid,time,event", "--ns"))
        finally:
            perf("probe", "-q", "--del", f"{GROUP}:*", check=False)
