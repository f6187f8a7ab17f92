"""A copy of the installed PostgreSQL with extension files of its own, for tests of the extension's versions.

A server finds its files by where its program lies.  So the programs and the extension's files are copied, and the rest
are links, each library by itself.
"""
import os
import re
import shutil
import subprocess
from pathlib import Path

from store import ROOT, Cluster

RELEASED = ["0.1.0"]  # versions of the extension, without the newest
PG_CONFIG = os.environ.get("PG_CONFIG", "pg_config")


def installed(what):
    return Path(subprocess.run([PG_CONFIG, f"--{what}"], check=True, capture_output=True, text=True).stdout.strip())


class Installation:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.bin = self.inside(installed("bindir"))
        self.extension = self.inside(installed("sharedir")) / "extension"
        shutil.copytree(installed("bindir"), self.bin)
        self.extension.mkdir(parents=True)
        self.inside(installed("pkglibdir")).mkdir(parents=True)  # whose libraries may be replaced
        for what in ("sharedir", "pkglibdir", "libdir"):
            self.link(installed(what))
        for libraries in installed("bindir").parents[2].glob(
                "*.libs"):  # a Python package's, found by where its programs lie
            self.inside(libraries).symlink_to(libraries)
        for file in (installed("sharedir") / "extension").iterdir():
            shutil.copy(file, self.extension)
        self.control = self.extension / "millrace.control"
        self.version = re.search("default_version = '(.*)'", self.control.read_text()).group(1)

    def inside(self, path):
        return Path(f"{self.folder}{path}")

    def link(self, path):
        target = self.inside(path)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
            return
        for entry in path.iterdir():
            if not (target / entry.name).exists():
                (target / entry.name).symlink_to(entry)

    def add_released(self):
        """The scripts of versions that are released and no longer installed."""
        for version in RELEASED:
            shutil.copy(ROOT / "extension" / f"millrace--{version}.sql", self.extension)

    def script(self, old, new):
        return self.extension / f"millrace--{old}--{new}.sql"

    def next_patch(self):
        minor, patch = self.version.rsplit(".", 1)
        return f"{minor}.{int(patch) + 1}"

    def configure(self, **settings):
        """Lines of the control file, instead of those that are there."""
        lines = [line for line in self.control.read_text().splitlines() if line.split(" = ")[0] not in settings]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        self.control.write_text("\n".join(lines) + "\n")

    def release(self, version, statements="", base=None):
        """Installs the files of a version that changes this much, and makes it the default one."""
        base = base or self.version
        full = (self.extension / f"millrace--{base}.sql").read_text()
        (self.extension / f"millrace--{version}.sql").write_text(full + statements)
        self.script(base, version).write_text(statements)
        self.configure(default_version=f"'{version}'")

    def cluster(self, folder):
        return Cluster(folder, bin=self.bin)
