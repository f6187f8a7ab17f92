#!/usr/bin/python3
"""Runs test/overload/overload.py with its arguments, in a temporary folder and when we are root as another user."""
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import run


def main(arguments):
    signal.signal(signal.SIGTERM, run.stop)
    # On a real disk: /tmp is memory on some machines.
    temp = Path(tempfile.mkdtemp(prefix="millrace-overload-", dir="/var/tmp"))
    try:
        for name in ("store.py", "certificates.py"):
            shutil.copy(run.ROOT / "test" / name, temp)
        shutil.copytree(run.ROOT / "test" / "overload", temp / "overload", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(run.ROOT / "sidecar" / "millrace", temp / "millrace")
        shutil.copy(run.ROOT / "bench" / "load", temp / "load")
        run.give_away(temp)
        environment = {**run.clean_environment(temp), "MILLRACE": str(temp / "millrace"), "LOAD": str(temp / "load")}
        _, code = run.run([sys.executable, "overload/overload.py", *arguments], cwd=temp, env=environment, **run.unprivileged())
        return code
    finally:
        shutil.rmtree(temp, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
