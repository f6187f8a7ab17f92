#!/usr/bin/python3
"""Does what the Dockerfiles and the compose file in sidecar/packaging say, without an engine, and tries the result.  As
root.

An image is a folder.  `debian:trixie-slim` is a new Debian system (new_system.sh), `postgres:N-trixie` is one with
Debian's own PostgreSQL and an entry point that does what the official one does.  A stage is an overlay on its base,
kept in memory; a container is an overlay on an image, with namespaces of its own and a volume that is filled from the
image, as an engine's.  Where this is less than an engine: containers of a compose file share one network, and
PostgreSQL is Debian's.

Mounts and processes end with the script: it starts itself again in namespaces of its own.
"""
import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from copy import copy
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGING = ROOT / "sidecar" / "packaging"
WORK = Path("/mnt")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWORD = "a password"

# What the official image's entry point does with these variables.
POSTGRES_ENTRYPOINT = r"""#!/bin/bash
set -e
if [ "$(id -u)" = 0 ]; then
	mkdir -p "$PGDATA" /run/postgresql
	chown -R postgres: "$PGDATA" /run/postgresql
	chmod 700 "$PGDATA"
	exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	initdb --username="${POSTGRES_USER:=postgres}" --encoding=UTF8 --locale=C.UTF-8 \\
		--pwfile=<(echo "$POSTGRES_PASSWORD") >/dev/null
	echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
	pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start >/dev/null
	[ "${POSTGRES_DB:=$POSTGRES_USER}" = postgres ] ||
		createdb --username="$POSTGRES_USER" --no-password --maintenance-db=postgres "$POSTGRES_DB"
	pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
fi
exec "$@" -c listen_addresses='*'
"""


def overlay(name, layers):
    """Mounts a folder whose changes are kept in memory, over layers, the uppermost first; returns it and the layers of
    what it then holds."""
    upper, work, root = (WORK / name / part for part in ("upper", "work", "root"))
    for folder in upper, work, root:
        folder.mkdir(parents=True)
    lower = ":".join(map(str, layers))
    subprocess.run(
        ["mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", root],
        check=True)
    return root, [upper, *layers]


# ---- building --------------------------------------------------------------------------------------------------------


class Image:
    """A folder with files, and what a container of it begins with."""

    def __init__(self, name, layers):
        self.root, self.layers = overlay(name, layers)
        self.env, self.user, self.folder, self.volumes = {"PATH": PATH}, "root", "/", []
        self.entrypoint, self.command, self.signal = [], [], "TERM"

    def child(self, name):
        image = Image(name, self.layers)
        for what in "env", "user", "folder", "volumes", "entrypoint", "command", "signal":
            setattr(image, what, copy(getattr(self, what)))
        return image

    def run(self, command, env=None):
        """In the image, as its user and with nothing but its environment; what is started ends with it."""
        mounts = f"mount -t proc proc {self.root}/proc; mount --rbind /dev {self.root}/dev"
        inside = [
            "chroot", self.root, "setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", "env",
            "-i", *(f"{name}={value}" for name, value in {**self.env, **(env or {})}.items()), "/bin/sh", "-c",
            f"cd {self.folder}; {command}"
        ]
        done = subprocess.run([
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", f'{mounts}; exec "$@"', "sh",
            *map(str, inside)
        ], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(f"{done.stdout[-3000:]}\nfailed with {done.returncode}: {command}")
        return done.stdout


def new_system(release):
    done = subprocess.run(["bash", "-euc", f". {ROOT}/test/new_system.sh; new_system {release}"], check=True,
                          stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


def base_image(name, stage):
    debian = re.fullmatch(r"debian:(\w+)-slim", name)
    postgres = re.fullmatch(r"postgres:(\d+)-(\w+)", name)
    if debian:
        return Image(stage, [new_system(debian.group(1))])
    if not postgres:
        sys.exit(f"{name} is no image that can be stood in for")
    image = Image(stage, [new_system(postgres.group(2))])
    major = postgres.group(1)
    image.run(
        "mkdir -p /etc/postgresql-common/createcluster.d; "
        "echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/no.conf; apt-get update; "
        f"apt-get install -y --no-install-recommends postgresql-{major}",
        {"DEBIAN_FRONTEND": "noninteractive"})
    image.env.update(PG_MAJOR=major, PGDATA="/var/lib/postgresql/data", PATH=f"{PATH}:/usr/lib/postgresql/{major}/bin",
                     PG_VERSION=image.run(f"dpkg-query --showformat='${{Version}}' --show postgresql-{major}"))
    (image.root / "usr/local/bin/docker-entrypoint.sh").write_text(POSTGRES_ENTRYPOINT)
    (image.root / "usr/local/bin/docker-entrypoint.sh").chmod(0o755)
    image.entrypoint, image.command, image.volumes, image.signal = ["docker-entrypoint.sh"
                                                                    ], ["postgres"], ["/var/lib/postgresql/data"], "INT"
    return image


def instructions(path):
    """The instructions of a Dockerfile: (word, rest)."""
    text = "".join(line for line in path.read_text().splitlines(True) if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def expand(text, variables):
    return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda found: variables[found.group(1) or found.group(2)], text)


def ignored(name):
    """Whether .dockerignore keeps a file out of what COPY sees; the last pattern that fits decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().lstrip("!")
        if not pattern or line.startswith("#"):
            continue
        parts = name.split("/")
        parents = ["/".join(parts[:n + 1]) for n in range(len(parts))]
        if any(
                fnmatch.fnmatch(each, pattern.replace("**/", "*/"))
                or fnmatch.fnmatch("/" + each, pattern.replace("**/", "*/")) or (
                    "/" not in pattern and each == parts[0] and fnmatch.fnmatch(each, pattern)) for each in parents):
            out = not line.startswith("!")
    return out


def copy_files(image, rest, stages):
    words = shlex.split(rest)
    other = words.pop(0)[len("--from="):] if words[0].startswith("--from=") else None
    *sources, target = words
    if any(word.startswith("--") for word in words):
        sys.exit(f"COPY {rest}: this option is not known here")
    for source in sources:
        start = (stages[other].root if other else ROOT) / source.lstrip("/")
        into = image.root / target.lstrip("/")
        if other:  # a folder's contents, with all rights
            into.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", f"{start}/.", into], check=True)
            continue
        for file in sorted(start.rglob("*")):
            if file.is_file() and not ignored(str(file.relative_to(ROOT))):
                place = into / file.relative_to(start)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, place)


def build(path):
    """The image of each stage, by its name; that of the last is "last"."""
    arguments, stages, image = {}, {}, None
    for word, rest in instructions(path):
        if image and word in ("ENV", "COPY", "USER", "WORKDIR", "VOLUME", "EXPOSE"):
            rest = expand(rest, {**arguments, **image.env})
        if word == "ARG":
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif word == "FROM":
            base, _, name = expand(rest, arguments).partition(" AS ")
            name = name or "last"
            print(f"   {name}, from {base}", flush=True)
            stage = f"{path.name}.{name}"
            image = stages[name] = stages[base].child(stage) if base in stages else base_image(base, stage)
        elif word == "RUN":
            print(f"   RUN {' '.join(rest.split())[:100]}", flush=True)
            image.run(rest)
        elif word == "COPY":
            copy_files(image, rest, stages)
        elif word == "ENV":
            image.env.update(part.split("=", 1) for part in shlex.split(rest))
        elif word == "USER":
            image.user = rest
        elif word == "WORKDIR":
            (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            image.folder = rest
        elif word == "VOLUME":
            image.volumes.append(rest)
        elif word == "ENTRYPOINT":
            image.entrypoint, image.command = json.loads(rest), []
        elif word == "CMD":
            image.command = json.loads(rest)
        elif word != "EXPOSE":
            sys.exit(f"{path.name}: {word} is not known here")
    return stages


# ---- containers ------------------------------------------------------------------------------------------------------


class Container:
    """The image's program as process 1, with a volume: a folder that is filled from the image when it is empty."""

    count = 0

    def __init__(self, image, volume, command=(), env=None, network=None):
        Container.count += 1
        self.image, (self.root, _) = image, overlay(f"container{Container.count}", image.layers)
        self.log = open(WORK / f"container{Container.count}" / "log", "w+")
        folder = image.volumes[-1]
        if not volume.exists():
            volume.parent.mkdir(exist_ok=True)
            inside = self.root / folder.lstrip("/")
            inside.mkdir(parents=True, exist_ok=True)
            shutil.copytree(inside, volume)
            shutil.copystat(inside, volume)
            os.chown(volume, inside.stat().st_uid, inside.stat().st_gid)
        env = {**image.env, "HOME": "/", **(env or {})}
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost postgres millrace\n")
        script = f"""ip link set lo up
            mount --bind {volume} {self.root}/{folder}
            mount -t proc proc {self.root}/proc; mount --rbind /dev {self.root}/dev
            mount -t tmpfs -o mode=1777,size=64m tmpfs {self.root}/dev/shm; exec "$@" """
        into = ["nsenter", f"--net=/proc/{network.pid}/ns/net"] if network else []
        self.process = subprocess.Popen([
            *into, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts",
            *([] if network else ["--net"]), "bash", "-ec", script, "bash", "chroot", self.root, "setpriv",
            f"--reuid={image.user}", f"--regid={image.user}", "--init-groups", "env", "-i",
            *(f"{name}={value}" for name, value in env.items()), "sh", "-c", f'cd {image.folder}; exec "$@"', "sh",
            *image.entrypoint, *(command or image.command)
        ], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = int(wait_for("process 1", lambda: self.running() and children.read_text().split())[0])

    def kill(self):
        """As `docker kill`: process 1 ends when all others have."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait(60)

    def running(self):
        assert self.process.poll() is None, self.text
        return True

    @property
    def text(self):
        return Path(self.log.name).read_text()

    def http(self, path, *arguments):
        """Asked from the container's own network."""
        return subprocess.run([
            "nsenter", f"--net=/proc/{self.pid}/ns/net", "curl", "-sS", "--fail-with-body",
            f"http://localhost:8080{path}", *arguments
        ], capture_output=True, text=True).stdout

    def execute(self, *command, check=True):
        """As `docker exec`."""
        script = f'cd {self.image.folder}; exec "$@"'
        done = subprocess.run([
            "nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root", "setpriv",
            f"--reuid={self.image.user}", f"--regid={self.image.user}", "--init-groups", "env", "-i",
            *(f"{name}={value}" for name, value in self.image.env.items()), "sh", "-c", script, "sh", *command
        ], capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip() if check else done.returncode

    def stop(self):
        """As `docker stop`; the exit code."""
        os.kill(self.pid, signal.Signals[f"SIG{self.image.signal}"])
        return self.process.wait(60)


def wait_for(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


# ---- what is tried ---------------------------------------------------------------------------------------------------


def append(container, token, position):
    """The next message of a stream; fails when an earlier one got lost."""
    body = json.dumps(
        ["stream.write", "account-123", {"type": "Deposited", "data": {}}, {"expectedVersion": position - 1}])
    answer = container.http("/rpc", "-H", f"Authorization: Bearer {token}", "-d", body)
    assert json.loads(answer)["position"] == position, answer


def psql(container, statement, database="postgres", user="postgres"):
    return container.execute("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", f"--username={user}", f"--dbname={database}",
                             f"--command={statement}")


def listening(container):
    wait_for("the line `listening on`", lambda: container.running() and "listening on" in container.text)


def try_postgres(images):
    container = Container(images["Dockerfile.postgres"]["last"], WORK / "volumes" / "alone",
                          env={"POSTGRES_PASSWORD": PASSWORD})
    wait_for("PostgreSQL",
             lambda: container.running() and container.execute("pg_isready", "--host=localhost", check=False) == 0)
    yield "CREATE EXTENSION works", psql(
        container, "CREATE EXTENSION millrace; SELECT millrace.create_namespace('default') IS NOT NULL") == "t"
    yield "it appends", psql(container, "SELECT millrace.append('account-123', 'Deposited', '{}')") == "(0,1)"
    yield "and reads", psql(container, "SELECT type FROM millrace.read_stream('account-123')") == "Deposited"
    yield "it stops", container.stop() == 0


def try_millrace(images):
    volume = WORK / "volumes" / "private"
    container = Container(images["Dockerfile"]["last"], volume)
    listening(container)
    yield "it is healthy", container.http("/health") == '{"status":"ok"}'
    yield "it is process 1, and not root's", container.execute(
        "sh", "-c", "cat /proc/1/comm; id -un; stat -c %U /proc/1") == "millrace\nmillrace\nmillrace"
    token = container.execute("cat", "/var/lib/millrace/token")
    mode = (volume / "token").stat().st_mode & 0o777
    is_secret = mode == 0o600 and token not in container.text
    yield "the token is in the volume, for its user alone, and not in the log", is_secret
    append(container, token, 0)
    yield "a message is appended", True
    yield "it has no compiler, and nothing but its user's files to write to", container.execute(
        "sh", "-c", "command -v gcc make; find / -xdev -type d -writable ! -path '/proc/*' ! -path '/dev/*' "
                    "! -path '/var/lib/millrace*' | sort") == \
        "/run/lock\n/tmp\n/var/tmp"
    yield "SIGTERM ends it, and its PostgreSQL as it should", container.stop() == 0 and not (
        volume / "data/pg/postmaster.pid").exists()
    container = Container(images["Dockerfile"]["last"], volume)
    listening(container)
    append(container, token, 1)
    container.kill()
    yield "another container finds the messages in the volume", True
    container = Container(images["Dockerfile"]["last"], volume)
    listening(container)
    append(container, token, 2)
    yield "after the first was killed, too", container.stop() == 0
    container = Container(images["Dockerfile"]["last"], WORK / "volumes" / "test", ["--test-mode", "--port=8080"])
    listening(container)
    append(container, "", 0)
    yield "flags alone start a server, in test mode", True
    yield "which stops", container.stop() == 0


def composed(service, variables):
    """The environment of a service, and its health check."""
    def value(found):
        return variables[found.group(1)]

    env = {
        name: re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", value, str(text))
        for name, text in service.get("environment", {}).items()
    }
    return env, service.get("healthcheck", {}).get("test", ["CMD", "true"])[1:]


def try_compose(images):
    compose = yaml.safe_load((PACKAGING / "compose.yaml").read_text())
    services = compose["services"]
    chosen = {
        name: images[Path(service["build"]["dockerfile"]).name][service["build"].get("target", "last")]
        for name, service in services.items()
    }
    yield "each service has its Dockerfile, and its volume where the image's is", all(
        (PACKAGING / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == PACKAGING /
        Path(service["build"]["dockerfile"]).name and [volume.split(":")[1]
                                                       for volume in service["volumes"]] == chosen[name].volumes[-1:]
        for name, service in services.items())
    env, healthy = composed(services["postgres"], {"POSTGRES_PASSWORD": PASSWORD})
    postgres = Container(chosen["postgres"], WORK / "volumes" / "composed-postgres", env=env)
    wait_for("the health check", lambda: postgres.running() and postgres.execute(*healthy, check=False) == 0)
    env, _ = composed(services["millrace"], {"POSTGRES_PASSWORD": PASSWORD})
    millrace = Container(chosen["millrace"], WORK / "volumes" / "composed-millrace", env=env, network=postgres)
    listening(millrace)
    append(millrace, millrace.execute("cat", "/var/lib/millrace/token"), 0)
    stored = psql(postgres, "SELECT count(*) FROM millrace_default.messages", "millrace", "millrace")
    yield "a message that is appended over HTTP is in the other container", stored == "1"
    yield "the program's image has no PostgreSQL", not (chosen["millrace"].root / "usr/lib/postgresql").exists()
    yield "both stop", millrace.stop() == 0 and postgres.stop() == 0


def megabytes(folder):
    return int(subprocess.run(["du", "-sm", folder], capture_output=True, text=True, check=True).stdout.split()[0])


def main():
    if os.geteuid() != 0:
        sys.exit(f"{sys.argv[0]}: this needs root")
    if sys.argv[1:] != ["--inside"]:
        os.execvp("unshare", [
            "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, __file__,
            "--inside"
        ])
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", WORK], check=True)
    passed = failed = 0
    images = {}
    for file in "Dockerfile.postgres", "Dockerfile":
        print(f"== {file}", flush=True)
        images[file] = build(PACKAGING / file)
        for name, image in images[file].items():
            if name != "build":
                print(f"   {name}: {megabytes(image.root)} MB")
    for name, attempt in ("the image with PostgreSQL", try_postgres), ("the image of the program",
                                                                       try_millrace), ("compose.yaml", try_compose):
        print(f"== {name}", flush=True)
        try:
            for sentence, holds in attempt(images):
                print(f"{'ok' if holds else 'FAILED'}: {sentence}", flush=True)
                passed, failed = passed + bool(holds), failed + (not holds)
        except AssertionError as error:
            print(f"FAILED: {error}")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
