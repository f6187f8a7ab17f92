#!/usr/bin/python3
"""Runs every test and ends with one line that counts them.

Layout and layers, pg_regress, isolation specs, unit tests, fuzzers, black-box and stress tests, in that order.
Postgres refuses to run as root.  So the parts that start one run in a temporary folder, which is
removed at the end, and when we are root as another user.

`run.py --sql` runs the SQL tests and the isolation specs only; `run.py --installcheck` does so against the server that
PGHOST and PGPORT name.  Other arguments go to pytest and leave all other parts out: `run.py -k conflict`, and with
`--tls` before them every server of the tests speaks TLS: `run.py --tls -k test_http`.
"""
import concurrent.futures
import glob
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAN = bool(os.environ.get("SAN"))
PG_CONFIG = os.environ.get("PG_CONFIG", "pg_config")
SANITIZED_POSTGRES = os.environ.get("SANITIZED_POSTGRES", "/var/tmp/millrace-sanitized-postgres")
REPORTS = None  # with SAN=1: the folder where a process that a sanitizer ends says why
# Not those that look into sockets in ways that Python's TLS has not, nor those that measure memory.
OVER_TLS = (
    "(test_http or test_import or test_export or test_subscribe) and not test_metrics and not test_directory "
    "and not test_proxy "
    "and not thousand and not transaction_holds_back and not was_open_when and not bomb and not costs_a_page "
    "and not stays_flat and not slow_sender")
# Of which each half takes about as long as all the others.
HALVED = ("http", "sql")
RUNNING = set()  # the processes of run()
DOCUMENTS = ["README.md", "extension/README.md", "sidecar/README.md"]  # test/docs runs their examples


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, passed=0, failed=0, skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped

    def line(self):
        line = f"{self.passed} passed, {self.failed} failed"
        return line + (f", {self.skipped} skipped" if self.skipped else "")


def run_quietly(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def pg_config(what):
    return run_quietly(PG_CONFIG, what)


def unprivileged():
    """Arguments for subprocess that make it run as another user when we are root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    sys.exit("test/run.py: no user to run Postgres as: there is neither postgres nor nobody")


def heading(text):
    print(f"\n== {text}", flush=True)


def run(command, show=True, **options):
    """Runs a command, shows its output as it comes, and returns the output and the exit code."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", **options)
    RUNNING.add(process)
    lines = []
    try:
        for line in process.stdout:
            if show:
                print(line, end="", flush=True)
            lines.append(line)
        return "".join(lines), process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    finally:
        RUNNING.discard(process)


def side_by_side(steps, at_once):
    """Calls functions, some at the same time; each that ends makes room for the next."""
    stopped = []

    def work(step):
        if not stopped:
            step()

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        try:
            for future in [pool.submit(work, step) for step in steps]:
                future.result()
        except KeyboardInterrupt:
            stopped.append(True)
            for process in list(RUNNING):
                process.send_signal(signal.SIGINT)
            raise


def copy_files(pattern, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in glob.glob(str(ROOT / pattern)):
        shutil.copy(name, folder)


def check(counts, name, command):
    """A part that is one test."""
    output, code = run(command, cwd=ROOT)
    print(f"{name}: {'ok' if code == 0 else 'FAILED'}")
    counts.add(passed=code == 0, failed=code != 0)


def layout(counts):
    heading("layout and layers")
    check(counts, "layers", [sys.executable, "test/layers.py"])
    check(counts, "layers.py finds what is wrong", [sys.executable, "test/test_layers.py"])
    check(counts, "lines", [sys.executable, "test/lines.py"])
    check(counts, "lines.py finds what is wrong", [sys.executable, "test/test_lines.py"])
    check(counts, "circles", [sys.executable, "test/circles.py"])
    check(counts, "circles.py finds what is wrong", [sys.executable, "test/test_circles.py"])
    check(counts, "what is said once", [sys.executable, "test/agreement.py"])
    check(counts, "references", [sys.executable, "test/references.py"])
    check(counts, "references.py finds what is wrong", [sys.executable, "test/test_references.py"])
    check(counts, "warnings end no user's build", ["test/warnings.sh"])
    check(counts, "versions", [sys.executable, "test/versions.py"])
    parts = ("extension", "extension/*", "sidecar", "sidecar/*", "test/unit", "test/fuzz", "bench")
    files = [name for part in parts for name in sorted(glob.glob(str(ROOT / part / "*.[ch]")))]
    # Other versions lay out differently.
    if shutil.which("clang-format") and "version 14." in run_quietly("clang-format", "--version"):
        check(counts, "clang-format", ["clang-format", "--dry-run", "-Werror", *files])
    # Other versions find other things; `make analyse` runs clang-tidy, too, which takes minutes.
    if shutil.which("cppcheck") and "Cppcheck 2.10" in run_quietly("cppcheck", "--version"):
        check(counts, "cppcheck", ["test/analyse.sh", "--cppcheck"])


def count_regress(counts, output, code):
    """The lines of pg_regress, old (`test name ... ok 12 ms`) and since 16 (`ok 1 - name 12 ms`)."""
    passed = len(re.findall(r"^(?:test| {4,})\s*\S+\s+\.\.\. ok\b|^ok \d+", output, re.M))
    failed = len(re.findall(r"^(?:test| {4,})\s*\S+\s+\.\.\. FAILED\b|^not ok \d+", output, re.M))
    counts.add(passed, failed or (code != 0))


def regress(counts, folder, title, program, tests, running):
    """Runs pg_regress or pg_isolation_regress on the tests in `folder`."""
    heading(title)
    if not tests:
        print("there are none")
        return
    outputs = folder / "out"
    outputs.mkdir()
    command = [Path(pg_config("--pgxs")).parent.parent / "test" / program, f"--inputdir={folder}",
               f"--outputdir={outputs}", f"--bindir={pg_config('--bindir')}", f"--dlpath={pg_config('--pkglibdir')}"]
    if (folder / "expected").exists():
        version = int(re.search(r"\d+", pg_config("--version")).group())
        command += [f"--expecteddir={folder}"] if version >= 16 else []
    options = {"cwd": folder, "env": clean_environment(folder)}
    if running:
        command.append(f"--dbname={os.environ.get('CONTRIB_TESTDB', 'contrib_regression')}")
        options["env"] = {**os.environ}
    else:
        give_away(folder)
        command += [f"--temp-instance={folder / 'instance'}", "--encoding=UTF8", "--no-locale"]
        options.update(unprivileged())
    output, code = run(command + tests, **options)
    count_regress(counts, output, code)
    diffs = outputs / "regression.diffs"
    if code != 0 and diffs.exists():
        print(diffs.read_text(errors="replace"))
    if code != 0 and not running:
        show_log(outputs / "log" / "postmaster.log")


def show_log(path):
    """The end of a server log, when the server itself failed."""
    if path.exists():
        lines = path.read_text(errors="replace").splitlines()
        crashed = [line for line in lines if re.search(r"PANIC|terminated by signal|TRAP|could not", line)]
        print("\n".join(crashed[-20:]))


def sql_tests(counts, temp, running=False):
    copy_files("sql/*.sql", temp / "regress" / "sql")
    copy_files("expected/*.out", temp / "regress" / "expected")
    names = sorted(path.stem for path in (ROOT / "sql").glob("*.sql"))
    regress(counts, temp / "regress", "SQL (pg_regress)", "regress/pg_regress", names, running)

    copy_files("test/isolation/*.spec", temp / "isolation" / "specs")
    copy_files("test/isolation/expected/*.out", temp / "isolation" / "expected")
    names = sorted(path.stem for path in (ROOT / "test" / "isolation").glob("*.spec"))
    regress(counts, temp / "isolation", "isolation", "isolation/pg_isolation_regress", names, running)


def sanitize(counts, temp):
    """Makes the Postgres of this run one with sanitizers in it and in its extension."""
    global PG_CONFIG, REPORTS
    REPORTS = temp / "reports"
    REPORTS.mkdir()
    REPORTS.chmod(0o1777)
    heading("a Postgres with sanitizers")
    if subprocess.run([ROOT / "test" / "sanitize" / "postgres.sh", SANITIZED_POSTGRES]).returncode != 0:
        print(
            "SKIPPED: there is none, so NO SANITIZER LOOKS AT THE EXTENSION in this run; "
            "`make sanitized-postgres` says why"
        )
        counts.add(skipped=1)
        return
    PG_CONFIG = f"{SANITIZED_POSTGRES}/bin/pg_config"
    # Away from the objects of another Postgres.
    shutil.copytree(ROOT / "extension", temp / "extension", ignore=shutil.ignore_patterns("*.o", "*.so"))
    subprocess.run(
        ["make", "-s", f"-j{os.cpu_count()}", "-C", temp / "extension", "SAN=1", f"PG_CONFIG={PG_CONFIG}", "install"],
        check=True)


def sanitizers_reports(counts):
    """The process that a sanitizer ended may be one whose end its test did not mind."""
    heading("what the sanitizers found")
    reports = sorted(REPORTS.iterdir())
    for report in reports:
        print(f"{report.name}:\n{report.read_text(errors='replace')[:10000]}")
    print(f"{len(reports)} reports")
    counts.add(passed=not reports, failed=len(reports))


def unit_tests(counts):
    heading("unit tests")
    output, code = run(["make", "--no-print-directory", "-C", "test/unit", "check"], cwd=ROOT)
    passed = sum(map(int, re.findall(r"^\[  PASSED  \] (\d+) test\(s\)", output, re.M)))
    failed = sum(map(int, re.findall(r"^\[  FAILED  \] (?:\w+: )?(\d+) test\(s\)", output, re.M)))
    counts.add(passed, failed or (code != 0))


def fuzzing(counts):
    """A short run of each fuzzer, which is one test."""
    heading("fuzzing")
    if subprocess.run(["make", "-s", "-C", "test/fuzz", "can"], cwd=ROOT, stderr=subprocess.DEVNULL).returncode != 0:
        print("SKIPPED: there is no clang with libFuzzer; test/deps.sh --fuzzing says which packages have it")
        counts.add(skipped=1)
        return
    output, code = run(["make", "--no-print-directory", "-C", "test/fuzz", "check"], cwd=ROOT)
    passed = len(re.findall(r"^fuzz \S+: ok\b", output, re.M))
    failed = len(re.findall(r"^fuzz \S+: FAILED\b", output, re.M))
    counts.add(passed, failed or (code != 0))


def install_elsewhere(temp):
    """Puts the extension into a folder that is none of the server's, for test_elsewhere.py."""
    sanitized = ["SAN=1"] if (temp / "extension" / "Makefile").exists() else []
    subprocess.run([
        "make", "-s", "-C", temp / "extension" if sanitized else ROOT / "extension", *sanitized,
        f"PG_CONFIG={PG_CONFIG}", f"prefix={temp}/elsewhere", "install"
    ], check=True, env=clean_environment(temp))


def prepare_pytest(temp):
    """Copies what stands beside the folders of pytest: bench, packaging, examples, page and documents."""
    copy_files("bench/*.py", temp / "bench")
    copy_files("bench/load", temp / "bench")
    copy_files("extension/*.sql", temp / "extension")
    for name in [*DOCUMENTS, "sidecar/CLIENTS.md", "sidecar/GROWING.md"]:
        (temp / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, temp / name)
    for name in "packaging", "examples", "ui":
        shutil.copytree(ROOT / "sidecar" / name, temp / "sidecar" / name)
    install_elsewhere(temp)


def pytest(counts, temp, title, arguments, name="pytest", parts=None, half=None, as_root=False, tls=False, show=True):
    """Runs pytest on a copy of the tests and the program, in a folder `name` that every user reaches.

    `parts` are the folders of tests, all without them, and of their files every other one with a `half`, 0 or 1.
    Where the output is not shown as it comes, it is at the end.
    """
    if show:
        heading(title)
    folder = temp / name
    folder.mkdir()
    for file in ("catalogue.py", "certificates.py", "clock.c", "clock.py", "conftest.py", "installation.py",
                 "store.py", "wall_clock.c"):
        shutil.copy(ROOT / "test" / file, folder)
    for part in [*(parts or test_parts()), "retention"]:  # which tests of HTTP use
        shutil.copytree(ROOT / "test" / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "sidecar" / ("build-san/millrace" if SAN else "millrace"), folder / "millrace")
    if (ROOT / "sidecar" / "build-profile" / "millrace").exists():
        (folder / "build-profile").mkdir()
        shutil.copy(ROOT / "sidecar" / "build-profile" / "millrace", folder / "build-profile")
    left_out = [] if half is None else sorted(folder.glob("*/test_*.py"))[1 - half::2]
    report = folder / "report.xml"
    give_away(folder)
    options = {} if as_root else unprivileged()
    # Signals that nohup or a shell's & made us ignore would be ignored by the programs that are tested.
    env = {
        **clean_environment(temp), "MILLRACE": str(folder / "millrace"), **({"MILLRACE_TEST_TLS": "1"} if tls else {})
    }
    output, code = run([
        "env", "--default-signal", sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--durations=15",
        f"--junitxml={report}", "-o", "addopts=", "--rootdir", folder, "-m", "root" if as_root else "not root",
        *arguments, *[f"--ignore={path}" for path in left_out], folder
    ], show, cwd=folder, env=env, **options)
    if not show:
        heading(title)
        print(output, end="", flush=True)
    if code not in (0, 1, 5) or not report.exists():  # 5: nothing was selected
        counts.add(failed=1)
        return
    suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite")
    tests, failures, errors, skipped = (int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped"))
    counts.add(tests - failures - errors - skipped, failures + errors, skipped)


def test_parts():
    return sorted({path.parent.name for path in (ROOT / "test").glob("*/test_*.py")})


def pytests(counts, temp):
    """All of pytest, three parts side by side, the longest first; the output of each comes when it has ended."""
    others = [part for part in test_parts() if part not in HALVED]

    def step(title, *arguments, **options):
        return lambda: pytest(counts, temp, title, [*arguments], show=False, **options)

    steps = [step(f"{part}, {'first' if half == 0 else 'other'} half (pytest)", name=f"{part}-{half}", parts=[part],
                  half=half) for part in HALVED for half in (0, 1)]
    steps.insert(1, step("commands, crashes, stress and the rest (pytest)", name="others", parts=others))
    steps.append(step("HTTP over TLS (pytest)", "-k", OVER_TLS, name="tls", tls=True))
    if os.geteuid() == 0:
        steps.append(step("started as root (pytest)", name="root", as_root=True))
    heading("pytest, three at a time: this takes fifteen minutes")
    side_by_side(steps, 3)


def clean_environment(temp):
    """Without the settings of the caller's Postgres or Millrace; temporary files go to our folder.

    Memory that was freed holds nothing that makes sense any more: who still reads it is found.
    """
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(("PG", "MILLRACE")) and name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    env.update(HOME=str(temp), TMPDIR=str(temp), PYTHONDONTWRITEBYTECODE="1", PG_CONFIG=PG_CONFIG,
               GLIBC_TUNABLES="glibc.malloc.perturb=165:glibc.malloc.tcache_count=0")
    if REPORTS:
        log = f"abort_on_error=1:log_path={REPORTS}/report"
        env.update(ASAN_OPTIONS=log, UBSAN_OPTIONS=f"print_stacktrace=1:{log}")
    return env


def give_away(folder):
    """Makes a folder belong to the user that will work in it."""
    user = unprivileged()
    if not user:
        return
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, user["user"], user["group"])


def run_by_itself(name, where, programs, arguments, beside=()):
    """Runs test/NAME/NAME.py on copies, in a temporary folder and when we are root as another user; returns its exit
    code.

    `programs` are handed over in the environment, by the variables' names; `beside` are other folders that it needs.
    """
    signal.signal(signal.SIGTERM, stop)
    temp = Path(tempfile.mkdtemp(prefix=f"millrace-{name}-", dir=where))
    try:
        for file in ("store.py", "certificates.py"):
            shutil.copy(ROOT / "test" / file, temp)
        for part in (name, *beside):
            shutil.copytree(ROOT / "test" / part, temp / part, ignore=shutil.ignore_patterns("__pycache__"))
        environment = {variable: str(shutil.copy(ROOT / program, temp)) for variable, program in programs.items()}
        give_away(temp)
        _, code = run([sys.executable, f"{name}/{name}.py", *arguments], cwd=temp,
                      env={**clean_environment(temp), **environment}, **unprivileged())
        return code
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def place():
    """Where the tests work: in memory where there is plenty of it, as they make and remove a million files."""
    memory, enough = "/dev/shm", 8 << 30
    try:
        found = os.statvfs(memory)
        available = int(re.search(r"MemAvailable:\s*(\d+)", Path("/proc/meminfo").read_text()).group(1)) << 10
    except OSError:
        return "/tmp"
    fits = found.f_bavail * found.f_frsize >= enough and available >= enough
    return memory if fits and not found.f_flag & os.ST_NOEXEC else "/tmp"


def stop(number, frame):
    raise KeyboardInterrupt


def main(arguments):
    signal.signal(signal.SIGTERM, stop)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    counts = Counts()
    temp = Path(tempfile.mkdtemp(prefix="millrace-test-", dir=place()))
    give_away(temp)
    temp.chmod(0o711)  # some tests start programs as other users
    try:
        if SAN:
            sanitize(counts, temp)
        if arguments == ["--installcheck"]:
            sql_tests(counts, temp, running=True)
        elif arguments == ["--sql"]:
            sql_tests(counts, temp)
        elif arguments[:1] == ["--tls"]:
            prepare_pytest(temp)
            pytest(counts, temp, "HTTP over TLS (pytest)", arguments[1:], tls=True)
        elif arguments:
            prepare_pytest(temp)
            pytest(counts, temp, "HTTP and stress (pytest)", arguments)
        else:
            layout(counts)
            sql_tests(counts, temp)
            unit_tests(counts)
            fuzzing(counts)
            prepare_pytest(temp)
            pytests(counts, temp)
        if SAN:
            sanitizers_reports(counts)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    print(f"\n{counts.line()}")
    return 1 if counts.failed or not counts.passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
