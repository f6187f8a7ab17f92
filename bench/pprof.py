"""Profiles of gperftools, read through the text that google-pprof makes of them.

In libraries without debug symbols a function is called by the name of the nearest exported one before it: what
libpq keeps of results is PQregisterThreadLock or PQmakeEmptyPGresult.
"""
import re
import subprocess
from collections import namedtuple

# Of one function: what happened in itself, and with all that it called.
Row = namedtuple("Row", "name flat cumulative")

LINE = re.compile(r"^\s*(-?[\d.]+)\s+-?[\d.]+%\s+-?[\d.]+%\s+(-?[\d.]+)\s+-?[\d.]+%\s+(.+?)\s*$")
# What a server allocates because it is asked for a profile.
ADMIN = r"^(allocations_profile|admin_|evhttp_|reply_allocations)"

# What deals with JSON: our scanner and writer (sidecar/base/json*.c) and json-c.
JSON = r"^(json_|jsonc_|printbuf_|lh_table_|array_list_|_json_c_)"


class Profile:
    """A profile, or what came to be between two (`base` is the earlier one)."""

    def __init__(self, program, path, base=None):
        self.program, self.path, self.base = str(program), str(path), base and str(base)

    def rows(self, *flags):
        """The total and one Row per function, the largest flat value first.  (What google-pprof calls total knows no
        --focus.)"""
        base = [f"--base={self.base}"] if self.base else []
        text = subprocess.run(["google-pprof", "--text", "--functions", *base, *flags, self.program, self.path],
                              check=True, capture_output=True, text=True, errors="replace").stdout
        merged = {}
        for found in filter(None, map(LINE.match, text.splitlines())):
            name = found[3].removesuffix(" (inline)")
            other = merged.get(name, Row(name, 0, 0))
            merged[name] = Row(name, other.flat + float(found[1]), max(other.cumulative, float(found[2])))
        rows = sorted(merged.values(), key=lambda row: -row.flat)
        return sum(row.flat for row in rows), rows

    def samples(self, *flags):
        """Of a CPU profile: 100 a second."""
        return self.rows(*flags)

    def bytes(self, *flags):
        return self.rows("--alloc_space", "--show_bytes", f"--ignore={ADMIN}", *flags)

    def objects(self, *flags):
        return self.rows("--alloc_objects", f"--ignore={ADMIN}", *flags)

    def in_use(self):
        return self.rows("--inuse_space", "--show_bytes", f"--ignore={ADMIN}")


def json_part(read):
    """How much of a profile has JSON functions in its stacks; `read` is one of the methods above."""
    return read(f"--focus={JSON}")[0]
