"""Tables that are written anew while they are read over HTTP: a stream that has messages never looks empty."""
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import sql, wait_until

REWRITE = "ALTER TABLE millrace_default.messages ALTER type TYPE text USING type || ''"
CLUSTER = "CLUSTER millrace_default.messages USING messages_pkey"
CALLS = [["stream.get", "account-1"], ["stream.get", "account-1", {"position": 1}], ["stream.version", "account-1"],
         ["stream.last", "account-1"], ["category.get", "account"], ["category.get", ""],
         ["category.get", "account", {"consumerGroup": {"member": 0, "size": 1}}], ["ns.streams"], ["ns.categories"],
         ["ns.info", "default"], ["export"]]


@pytest.fixture
def filled(start):
    server = start("--test-mode", "--workers", "1")
    for n in range(20):
        server.client().write(f"account-{n % 4}", {"n": n})
    return server


def ask(client, call):
    """The status and what tells whether all is there."""
    reply = client.request("GET", "/export") if call == ["export"] else client.post(call)
    return reply.status, reply.body


def readers_wait(connection):
    return sql(
        connection,
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'millrace_default.messages'::regclass")[0][0]


@pytest.mark.parametrize("statement", [REWRITE, CLUSTER])
def test_a_read_that_waits_for_its_table_while_that_is_written_anew_sees_all(filled, statement):
    holder, watcher = filled.postgres(), filled.postgres()
    holder.autocommit = False
    with ThreadPoolExecutor(1) as pool:
        for call in CALLS:
            before = ask(filled.client(), call)
            assert before[0] == 200 and before[1] not in (b"", b"[]", b"null")
            sql(holder, statement)
            # Its statement has its snapshot by now, and every row of the new file is younger than that.
            answer = pool.submit(ask, filled.client(), call)
            wait_until(lambda: readers_wait(watcher) > 0, f"{call} to wait")
            holder.commit()
            assert answer.result() == before, call


def test_reads_beside_vacuum_full_and_a_rewriting_alter_see_all(filled):
    before = {str(call): ask(filled.client(), call) for call in CALLS}
    stop = []

    def read(call):
        client, answers = filled.client(), 0
        while not stop:
            assert ask(client, call) == before[str(call)], call
            answers += 1
        return answers

    connection = filled.postgres()
    with ThreadPoolExecutor(len(CALLS)) as pool:
        readers = [pool.submit(read, call) for call in CALLS]
        try:
            for _ in range(20):
                sql(connection, "VACUUM FULL millrace_default.messages")
                sql(connection, REWRITE)
        finally:
            stop.append(True)
        assert all(reader.result() > 0 for reader in readers)
