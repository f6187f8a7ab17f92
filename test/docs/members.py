"""Processes of examples, to be killed and started again."""
import os
import signal
import subprocess


class Members:
    """Processes that write into one file, in the order in which they write."""

    def __init__(self, server, token, folder):
        self.path, self.errors, self.processes = folder + "/output", open(folder + "/errors", "ab+"), {}
        self.environment = {**os.environ, "MILLRACE_URL": f"http://localhost:{server.port}", "TOKEN": token}
        self.output = open(self.path, "ab")

    def start(self, name, *command):
        self.processes[name] = subprocess.Popen(command, env=self.environment, stdout=self.output,
                                                stderr=self.errors, start_new_session=True)

    def kill(self, name):
        process = self.processes.pop(name)
        assert process.poll() is None, f"{name} has ended by itself"
        self._end(process)

    @staticmethod
    def _end(process):
        """With the programs that it runs, such as curl."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def lines(self):
        """What was printed, whole lines only."""
        with open(self.path) as file:
            return [line for line in file.read().splitlines(keepends=True) if line.endswith("\n")]

    def close(self):
        for name in list(self.processes):
            self._end(self.processes.pop(name))
        self.output.close()
        self.errors.seek(0)
        print(self.errors.read().decode())  # shown when the test fails
        self.errors.close()
