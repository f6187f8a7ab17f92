"""A clock that a test sets, in the program as it is shipped: clock.c, preloaded."""
import mmap
import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """The clock of the programs that are started with `variables`.  `at`: what it shows now, in seconds; else the
    machine's."""

    def __init__(self, folder, at=None, tick_ms=0):
        library, setting = f"{folder}/clock.so", f"{folder}/clock"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        with open(setting, "w+b") as file:
            file.write(bytes(40))
            file.flush()
            self.map = mmap.mmap(file.fileno(), 40)
        self.variables = {"LD_PRELOAD": library, "TEST_CLOCK": setting}
        self.set(0, 0 if at is None else int((at - time.clock_gettime(time.CLOCK_MONOTONIC)) * 1e9))
        self.set(1, int(tick_ms * 1e6))

    def set(self, which, value):
        self.map[8 * which:8 * which + 8] = struct.pack("=q", value)

    def get(self, which):
        return struct.unpack("=q", self.map[8 * which:8 * which + 8])[0]

    def jump(self, seconds):
        self.set(0, self.get(0) + int(seconds * 1e9))

    def stop(self):
        """It stands from now on, so no timer ends."""
        self.set(3, time.clock_gettime_ns(time.CLOCK_MONOTONIC) + self.get(0))

    @property
    def looks(self):
        return self.get(2)
