#!/usr/bin/python3
"""Runs test/ha/ha.py with its arguments on copies, in network, mount and process namespaces of its own, as root.

What ends this program ends all that it started, and leaves no mount and no namespace behind: they are those of a
process that is killed with it.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import run

BESIDE = ("ha", "crash", "consumers")
NAMESPACES = ["setpriv", "--pdeathsig", "KILL", "unshare",
              "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
REAPER = ["sh", "-c", '"$@" & wait $!', "sh"]  # the first process there must wait for orphans, which Python doesn't


def main(arguments):
    if os.geteuid() != 0:
        sys.exit("test/ha.py makes network namespaces: run it as root")
    signal.signal(signal.SIGTERM, run.stop)
    temp = Path(tempfile.mkdtemp(prefix="millrace-ha-", dir="/tmp"))
    temp.chmod(0o755)
    process = None
    try:
        for file in ("store.py", "certificates.py"):
            shutil.copy(run.ROOT / "test" / file, temp)
        for part in BESIDE:
            shutil.copytree(run.ROOT / "test" / part, temp / part, ignore=shutil.ignore_patterns("__pycache__"))
        environment = {
            "MILLRACE": shutil.copy(run.ROOT / "sidecar" / ("build-san/millrace" if run.SAN else "millrace"), temp),
            "MILLRACE_GROWING": shutil.copy(run.ROOT / "sidecar" / "GROWING.md", temp)
        }
        process = subprocess.Popen([*NAMESPACES, *REAPER, sys.executable, str(temp / "ha" / "ha.py"), *arguments],
                                   cwd=temp, env={**run.clean_environment(temp), **environment})
        return process.wait()
    finally:
        if process:
            process.kill()
            process.wait()
        shutil.rmtree(temp, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
