#!/usr/bin/python3
"""Runs test/crash/crash.py with its arguments, in a temporary folder and when we are root as another user."""
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import run


def main(arguments):
    signal.signal(signal.SIGTERM, run.stop)
    temp = Path(tempfile.mkdtemp(prefix="millrace-crash-", dir="/tmp"))
    try:
        for name in ("store.py", "certificates.py"):
            shutil.copy(run.ROOT / "test" / name, temp)
        shutil.copytree(run.ROOT / "test" / "crash", temp / "crash", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(run.ROOT / "sidecar" / ("build-san/millrace" if run.SAN else "millrace"), temp / "millrace")
        run.give_away(temp)
        _, code = run.run([sys.executable, "crash/crash.py", *arguments], cwd=temp,
                          env={**run.clean_environment(temp), "MILLRACE": str(temp / "millrace")}, **run.unprivileged())
        return code
    finally:
        shutil.rmtree(temp, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
