#!/usr/bin/python3
"""Runs test/overload/overload.py with its arguments, in a temporary folder and when we are root as another user."""
import sys

import run

if __name__ == "__main__":
    # On a real disk: /tmp is memory on some machines.
    sys.exit(
        run.run_by_itself("overload", "/var/tmp", {"MILLRACE": "sidecar/millrace", "LOAD": "bench/load"}, sys.argv[1:]))
