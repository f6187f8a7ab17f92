"""Clients of Message DB, by our functions of its name: what each is for."""
import subprocess

from stage import environment

PARTS = ["append", "wrong version", "stream", "category", "last message", "groups, projections, handlers"]
PATIENCE = 60  # seconds


def attempt(stage, commands, clients, tell):
    """The cells of each client."""
    address, cells = stage.message_db(), {}
    for client in clients:
        how, works = ("set", "with setting") if client.setting else ("plain", "works")
        done = subprocess.run([*map(str, commands[client.ecosystem]("peer")), client.name, how, address],
                              capture_output=True, text=True, timeout=PATIENCE, env=environment())
        found = [line[5:] for line in done.stdout.splitlines() if line.startswith("good ")]
        if done.returncode != 0 or found != PARTS:
            tell(f"{client.name}: {done.stderr[-1500:]}")
        cells[client.name] = {part: works if part in found else "no" for part in PARTS}
    return cells
