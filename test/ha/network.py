"""Machines as network namespaces on one bridge, and links between them that are cut without a word.

All of it is in the network, mount and process namespaces that `make test-ha` makes for itself: whatever ends the run
ends them, and nothing of it is seen from outside.  The run itself stands on the bridge and reaches every machine,
whatever is cut.
"""
import subprocess
from pathlib import Path

NET = "10.77.0."
BRIDGE = "bridge"
NOBODY = "02:00:00:00:00:ff"  # no machine's: what is sent there is dropped, and nobody is told


def run(*command):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}"
    return done.stdout


class Network:
    """`names`: of the machines, which know each other by them."""

    def __init__(self, folder, names):
        self.addresses = {name: f"{NET}{number}" for number, name in enumerate(names, 11)}
        self.cuts = set()
        Path("/run/netns").mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "none", "/run/netns")
        hosts = Path(folder) / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{at} {name}\n" for name, at in self.addresses.items()))
        hosts.chmod(0o644)
        run("mount", "--bind", hosts, "/etc/hosts")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{NET}1/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for name, address in self.addresses.items():
            self.add(name, address)

    def add(self, name, address):
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"to-{name}", "master", BRIDGE, "up")
        run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", name, "link", "set", device, "up")

    def inside(self, name, user="postgres"):
        """What stands before a command that is to run there, as another user than root; the process stays the same."""
        return ["ip", "netns", "exec", name, "setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]

    def cut(self, some, others):
        """From now on nothing gets from some machines to others, nor back."""
        for one in some:
            for other in others:
                self.cuts |= {(one, other), (other, one)}
        for at, to in self.cuts:
            run("ip", "-n", at, "neighbour", "replace", self.addresses[to], "lladdr", NOBODY, "dev", "eth0", "nud",
                "permanent")

    def heal(self):
        for at, to in self.cuts:
            run("ip", "-n", at, "neighbour", "del", self.addresses[to], "dev", "eth0")
        self.cuts.clear()
