#!/usr/bin/python3
"""Runs test/chaos/chaos.py with its arguments, in a temporary folder and when we are root as another user."""
import sys

import run

if __name__ == "__main__":
    sys.exit(run.run_by_itself("chaos", "/tmp", {}, sys.argv[1:]))
