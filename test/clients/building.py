"""Installs the libraries of an ecosystem by its own package manager, into a folder, and says how its programs are run.

What is downloaded stays in the package manager's cache.
"""
import os
import shutil
import subprocess

from libraries import HERE

PATIENCE = 1800  # seconds for all of an ecosystem, on a machine that has much else to do


def run(*command, **options):
    done = subprocess.run(["nice", *map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}:\n{done.stdout[-3000:]}")
    return done.stdout


def python(folder):
    interpreter = folder / "venv" / "bin" / "python"
    if not interpreter.exists():
        run("/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3", "-m", "venv", folder / "venv")
    run(interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", folder / "requirements.txt")
    return lambda program: [interpreter, folder / f"{program}.py"]


def node(folder):
    run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)
    return lambda program: ["node", folder / f"{program}.mjs"]


def go(folder):
    run("go", "build", "-mod=mod", "-o", folder / "clients", ".", cwd=folder)
    return lambda program: [folder / "clients", program]


def rust(folder):
    run("cargo", "build", "--quiet", cwd=folder)
    return lambda program: [folder / "target" / "debug" / "clients", program]


def java(folder):
    run("mvn", "-q", "-B", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath", cwd=folder)
    path = f"{folder}/target/classes:{(folder / 'classpath').read_text().strip()}"
    return lambda program: ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", path, "Clients", program]


def curl(folder):
    return lambda program: [HERE / "curl.sh"]


# What each needs on the machine.
NEEDS = {"curl": ["curl"], "python": [], "node": ["node", "npm"], "go": ["go"], "rust": ["cargo"], "java": ["mvn"]}


def build(ecosystem, where):
    """Returns what makes a command of the name of a program; raises with the reason when it can't be built."""
    for program in NEEDS[ecosystem]:
        if shutil.which(program) is None:
            raise RuntimeError(f"there is no {program}: test/deps.sh --clients")
    folder = where / ecosystem
    if (HERE / ecosystem).exists():
        shutil.copytree(HERE / ecosystem, folder, dirs_exist_ok=True)
    return globals()[ecosystem](folder)
