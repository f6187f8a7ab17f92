#!/usr/bin/python3
"""Runs test/moving/moving.py with its arguments, in a temporary folder and when we are root as another user."""
import sys

import run

if __name__ == "__main__":
    program = "sidecar/" + ("build-san/millrace" if run.SAN else "millrace")
    sys.exit(run.run_by_itself("moving", "/tmp", {"MILLRACE": program}, sys.argv[1:]))
