#!/usr/bin/python3
"""Runs test/page/page.py with its arguments, in a temporary folder and when we are root as another user."""
import sys
import tempfile

import run

if __name__ == "__main__":
    screenshots = tempfile.mkdtemp(prefix="millrace-page-")
    run.give_away(run.Path(screenshots))
    # On a real disk: /tmp is memory on some machines.
    code = run.run_by_itself("page", "/var/tmp", {"MILLRACE": "sidecar/millrace", "LOAD": "bench/load"},
                             ["--screenshots", screenshots, *sys.argv[1:]], beside=["browser"])
    print(f"pictures: {screenshots}", file=sys.stderr)
    sys.exit(code)
