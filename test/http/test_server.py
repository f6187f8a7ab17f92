"""The life of a server: starting, stopping, and what changes when root starts it."""
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

from store import MILLRACE, ZERO_TOKEN, Cluster, Server, sql, token_for, wait_until
from write_load import MESSAGE, Load, hold_stream, waiting


# Starting

def test_a_port_that_is_taken_ends_the_start_with_a_reason(server):
    done = subprocess.run(
        [MILLRACE, "serve", "--test-mode", "--port", str(server.port)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and str(server.port) in done.stdout + done.stderr


@pytest.mark.parametrize("arguments",
                         [["--port", "x"], ["--port", "70000"], ["--port", "-1"], ["--nonsense"], ["--port"],
                          ["surplus"], ["--log-level", "loud"], ["--workers", "-1"], ["--listen", "nowhere.invalid"]])
def test_bad_flags_end_the_start_with_a_reason(arguments):
    done = subprocess.run([MILLRACE, "serve", "--test-mode", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode not in (0, -6, -11)
    assert arguments[0].lstrip("-") in done.stderr + done.stdout or arguments[-1] in done.stderr


@pytest.mark.parametrize("arguments, words", [
    (["--buffer-bytes", "4M"], ["--buffer-bytes 4M", "--max-body 100M", "--max-header 64k"]),
    (["--buffer-bytes", "2M", "--max-body", "1M"], ["--buffer-bytes 2M", "--max-body 1M"]),
    (["--buffer-bytes", "512M", "--max-body", "256M"], ["--buffer-bytes 512M", "--max-body 256M"]),
    (["--max-body", "512M"], ["--buffer-bytes 512M", "--max-body 512M"])])
def test_flags_that_contradict_each_other_end_the_start_with_both(arguments, words):
    done = subprocess.run([MILLRACE, "serve", "--test-mode", *arguments], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("beside", [0, 1000, 3000])
def test_a_body_of_the_largest_size_fits_the_smallest_memory_for_requests(start, beside):
    largest = 1024 * 1024 - beside  # together with its head it needs more than a MiB, which is 2
    client = start("--test-mode", "--workers", "1", "--max-body", str(largest), "--max-header", "64k", "--buffer-bytes",
                   str(2 * (largest + 65536))).client()
    assert client.post('["sys.version"]'.ljust(largest)).status == 200


def test_flags_beat_the_environment():
    env = {**os.environ, "MILLRACE_PORT": "nonsense"}
    done = subprocess.run([MILLRACE, "serve", "--test-mode"], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode not in (0, -6, -11) and "port" in (done.stderr + done.stdout).lower()


def test_help_and_version():
    for arguments, word in ((["help"], "serve"), (["--help"], "serve"), (["-help"], "serve"), (["version"], "0.2.0"),
                            (["-version"], "0.2.0"), (["serve", "--help"], "--data-dir")):
        done = subprocess.run([MILLRACE, *arguments], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 and word in done.stdout, arguments
    assert subprocess.run([MILLRACE, "nonsense"], capture_output=True, timeout=20).returncode != 0


def test_a_database_that_does_not_answer_ends_the_start_or_is_waited_for(folder):
    server = Server("--database", f"host={folder} dbname=none", "--retry-window", "1", wait=False)
    try:
        assert server.wait(60) not in (0, -6, -11)
        assert server.text
    finally:
        server.kill()


def test_two_servers_do_not_share_a_data_folder(folder, start):
    start("--data-dir", folder + "/data")
    second = Server("--data-dir", folder + "/data", wait=False)
    try:
        assert second.wait(60) not in (0, -6, -11)
        assert "data" in second.text
    finally:
        second.kill()


def test_it_listens_on_ipv4_and_ipv6(server):
    import socket
    socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    if Path("/proc/net/if_inet6").exists() and "00000000000000000000000000000001" in Path(
            "/proc/net/if_inet6").read_text():
        socket.create_connection(("::1", server.port), timeout=5).close()


def test_a_database_of_ones_own(cluster, start):
    sql(cluster.connect(), "CREATE DATABASE mine")
    first = start("--database", cluster.conninfo("mine"), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    second = start("--database", cluster.conninfo("mine"), token=ZERO_TOKEN)
    first.client().write("s")
    assert second.client().call("stream.version", "s") == 0
    token = first.client().call("ns.create", "shared")["token"]
    client = second.client(token)
    assert client.write("s")["position"] == 0
    first.client().call("ns.delete", "shared")
    gone = time.monotonic()
    wait_until(lambda: client.post(["stream.get", "s"]).status == 403, "a dead token on the other server", 10)
    assert time.monotonic() - gone < 1.5


def test_settings_of_the_role_change_nothing(cluster, start):
    owner = cluster.connect()
    sql(owner, "CREATE SCHEMA decoy")
    sql(
        owner,
        "CREATE FUNCTION decoy.late(bigint, interval) RETURNS interval LANGUAGE sql AS $$ "
        "SELECT interval '1000 years' $$"
    )
    sql(owner, "CREATE OPERATOR decoy.* (FUNCTION = decoy.late, LEFTARG = bigint, RIGHTARG = interval)")
    newer = ("transaction_timeout = '100ms'",) if owner.server_version >= 170000 else ()
    for setting in ("search_path = decoy, pg_catalog", "statement_timeout = '100ms'", "lock_timeout = '100ms'",
                    "idle_session_timeout = '100ms'", *newer):
        sql(owner, f"ALTER ROLE tester SET {setting}")
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    ours = "".join(f" -c {setting.split()[0]}=0" for setting in ("statement_timeout", "idle_session_timeout", *newer))
    connection = psycopg2.connect(f"{cluster.conninfo()} options='{ours}'")
    connection.autocommit = True
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 0.5,
               "sessions that were idle for longer than the role's setting allows")
    assert "connection for" not in server.text
    hold_stream(connection, "s")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client().write, "s")
        wait_until(
            lambda: answer.done() or sql(
                owner,
                "SELECT 1 FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND clock_timestamp() - state_change > '0.2 s'"
            ), "a long wait")
        connection.commit()
        connection.close()
        assert answer.result()["position"] == 1
    assert server.client().request("GET", "/export?since=2020-01-01").body.count(b"\n") == 2


def test_several_hosts_may_name_a_standby_first_and_a_token_that_is_set_already_writes_nothing(cluster, start, folder):
    start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN).stop()
    standby = Cluster(folder + "/standby").copy_of(cluster).start()
    try:
        alone = start("--database", standby.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
        assert alone.client().call("stream.get", "s") == []
        alone.stop()
        both = start("--database", f"host={standby.folder},{cluster.folder} user=tester dbname=postgres", "--token",
                     token := token_for("default"), token=token)
        sql(standby.connect(), "SELECT pg_wal_replay_pause()")
        assert both.client().write("s")["position"] == 0
        assert both.client().call("stream.version", "s") == 0, "what was acknowledged is read, so not from the standby"
        both.stop()
    finally:
        standby.stop("immediate")


# Stopping

def test_sigterm_finishes_what_is_in_flight(folder):
    server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    load = Load(server)
    load.goes_on()
    server.terminate()
    load.stop()
    server.stop()
    assert not [each for each in load.others if isinstance(each, tuple) and each[0] != 503]
    server = Server("--data-dir", folder + "/data", token=ZERO_TOKEN)
    load.verify(server.client(), exactly=False)
    server.stop()


def test_sigterm_waits_for_a_request_that_is_being_answered(cluster, start):
    server = Server("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    connection = hold_stream(cluster.connect(), "s")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client().write, "s")
        wait_until(lambda: waiting(cluster), "a writer that waits")
        server.terminate()
        wait_until(server.refuses_connections, "the end of listening")
        connection.commit()
        connection.close()
        assert answer.result()["position"] == 1
    server.stop()


def test_a_subscription_whose_token_is_still_looked_up_when_the_server_stops_is_refused(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    connection = cluster.connect()
    connection.autocommit = False
    sql(connection, "LOCK TABLE millrace.namespaces")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client().request, "GET", "/subscribe?all=true")
        wait_until(lambda: waiting(cluster), "the question for the token")
        server.terminate()
        wait_until(server.refuses_connections, "the end of listening")
        connection.commit()
        connection.close()
        reply = answer.result()
        assert (reply.status, reply.body) == (503, b"the server is stopping") and int(reply.headers["Retry-After"]) >= 1
    assert server.wait(15) == 0


def test_a_request_that_takes_too_long_keeps_no_server_from_stopping(cluster, start):
    server = start("--database", cluster.conninfo(), "--token", ZERO_TOKEN, "--drain-timeout", "1", token=ZERO_TOKEN)
    connection = hold_stream(cluster.connect(), "s")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.client().post, ["stream.write", "s", MESSAGE])
        wait_until(lambda: waiting(cluster), "a writer that waits")
        server.terminate()
        assert server.wait(15) == 0 and "still in flight after 1 s" in server.text
        assert answer.result().status == 503
    connection.close()


def test_a_client_that_reads_nothing_of_its_answer_keeps_no_server_from_stopping(start):
    server = start("--test-mode")
    client = server.client()
    for _ in range(16):  # more than the kernel takes for a client
        client.write("s", {"text": "x" * 500_000})
    with server.connect() as wire:
        wire.sendall(b'POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n["stream.get","s"]')
        assert wire.recv(1) == b"H"
        server.terminate()
        assert server.wait(15) == 0 and "still in flight" not in server.text


def test_a_client_that_was_refused_and_sends_on_keeps_no_server_from_stopping(start):
    server = start("--test-mode")
    with server.connect() as wire:
        wire.sendall(b"GARBAGE\r\n\r\n")
        assert wire.recv(4096).startswith(b"HTTP/1.1 400 ")
        server.terminate()
        end = time.monotonic() + 15
        while server.process.poll() is None:
            assert time.monotonic() < end, "it still runs"
            try:
                wire.sendall(b"x")
            except ConnectionError:
                pass
            time.sleep(0.05)


@pytest.mark.parametrize("name", ["t", "x" * 90], ids=["sockets beside it", "sockets below /tmp"])
def test_nothing_is_left_after_the_end(folder, name):
    """In a folder of its own: in the one of all tests others come and go meanwhile."""
    temporary = f"{folder}/{name}"
    os.mkdir(temporary)
    server = Server("--test-mode", variables={"TMPDIR": temporary})
    server.client().write("s")
    postmaster, sockets = server.postmaster(), sockets_folder(server)
    assert len(os.listdir(temporary)) == 1 and os.path.exists(sockets)
    server.stop()
    assert not Path(f"/proc/{postmaster}").exists()
    assert os.listdir(temporary) == [] and not os.path.exists(sockets)


def test_what_a_killed_test_server_left_is_removed_by_the_next_one(folder, start):
    temporary = {"TMPDIR": folder}
    living = start("--test-mode", variables=temporary)
    killed = Server("--test-mode", variables=temporary)
    [left] = [name for name in os.listdir(folder) if not is_folder_of(living, name)]
    killed.kill()
    for name in ("millrace-test-abcdef", "millrace-test-abcdefg", "millrace-test-young1", "somebodys"):
        os.mkdir(f"{folder}/{name}")
    os.utime(folder + "/millrace-test-abcdef", (1, 1))
    start("--test-mode", variables=temporary)
    wait_until(lambda: not {left, "millrace-test-abcdef"} & set(os.listdir(folder)), "their end")
    assert {"millrace-test-abcdefg", "millrace-test-young1", "somebodys"} < set(os.listdir(folder))
    living.client().write("s")


def sockets_folder(server):
    return (Path(os.readlink(f"/proc/{server.postmaster()}/cwd")) / "postmaster.pid").read_text().splitlines()[4]


@pytest.mark.parametrize("what", ["again", "gone"])
def test_what_a_killed_server_left_below_tmp_is_removed_by_a_later_one(folder, start, what):
    """Its sockets, where its own path is too long for them."""
    long = folder + "/" + "x" * 90
    killed = Server("--data-dir", long, "--token", ZERO_TOKEN)
    left, living = sockets_folder(killed), start("--data-dir", long + "y", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    assert left.startswith("/tmp/millrace-run-") and sockets_folder(living) != left
    postmaster = killed.postmaster()
    killed.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{postmaster}"), "the end of its Postgres")
    os.makedirs(left, exist_ok=True)  # as it is after kill -9 of both
    Path(left + "/.s.PGSQL.5432.lock").write_text(f"12345\n{long}/pg\n1\n5432\n{left}\n")
    if what == "gone":
        shutil.rmtree(long)
    start("--data-dir", long if what == "again" else long + "z", "--token", ZERO_TOKEN)
    wait_until(lambda: not os.path.exists(left), "its end")
    assert os.path.exists(sockets_folder(living))
    living.client().write("s")


def is_folder_of(server, name):
    return f"/{name}/" in os.readlink(f"/proc/{server.postmaster()}/cwd")


def test_sigint_is_a_clean_end_too():
    server = Server("--test-mode")
    server.process.send_signal(signal.SIGINT)
    assert server.wait(60) == 0


def test_after_kill_9_the_next_start_has_all_that_was_acknowledged(folder):
    server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    load = Load(server)
    load.goes_on()
    server.kill()
    load.stop()
    server = Server("--data-dir", folder + "/data", token=ZERO_TOKEN)
    load.verify(server.client(), exactly=False)
    server.stop()


def test_a_private_postgres_is_durable(folder, start):
    server = start("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
    connection = server.postgres()
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert sql(connection, f"SHOW {setting}") == [("on",)], setting
    connection.close()


# As root

@pytest.mark.root
def test_started_by_root_it_runs_postgres_as_another_user():
    server = Server("--test-mode")
    try:
        assert server.client().write("s")["position"] == 0
        assert Path(f"/proc/{server.postmaster()}").stat().st_uid != 0
    finally:
        server.stop()


@pytest.mark.root
def test_started_by_root_it_makes_its_data_folder(folder):
    os.chmod(folder, 0o755)
    for expected in (0, 1):
        server = Server("--data-dir", folder + "/data", "--token", ZERO_TOKEN, token=ZERO_TOKEN)
        try:
            assert server.client().write("s")["position"] == expected
        finally:
            server.stop()


@pytest.mark.root
def test_a_data_folder_out_of_reach_is_a_clear_error(folder):
    os.chmod(folder, 0o700)
    server = Server("--data-dir", folder + "/data", wait=False)
    try:
        assert server.wait(60) not in (0, -6, -11)
        assert folder in server.text
    finally:
        server.kill()
