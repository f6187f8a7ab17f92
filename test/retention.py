#!/usr/bin/python3
"""Runs test/retention/retention.py with its arguments, in a temporary folder and when we are root as another user."""
import sys

import run

if __name__ == "__main__":
    program = "sidecar/" + ("build-san/millrace" if run.SAN else "millrace")
    programs = {"MILLRACE": program, "MILLRACE_LOAD": "bench/load"}
    sys.exit(run.run_by_itself("retention", "/tmp", programs, sys.argv[1:]))
