"""Writers beside a test, and transactions that hold them up."""
import threading

from store import new_id, token_for, wait_until

MESSAGE = {"type": "Tested", "data": {}}


class Load:
    """Writers, each to a stream of its own, that keep every answer."""

    def __init__(self, server, writers=8):
        self.server, self.token, self.stopped = server, server.token or token_for("load " + new_id()), False
        self.acknowledged, self.others, self.lost = [0] * writers, [], [0] * writers
        self.threads = [threading.Thread(target=self._write, args=(n,)) for n in range(writers)]
        for thread in self.threads:
            thread.start()

    def _write(self, n):
        client = self.server.client(self.token, timeout=90)
        while not self.stopped:
            try:
                reply = client.post(["stream.write", f"s-{n}", {"type": "T", "data": {"n": self.acknowledged[n]}}])
            except Exception as error:  # the connection is gone
                self.lost[n] += 1
                self.others.append(repr(error))
                return
            if reply.status == 200:
                self.acknowledged[n] += 1
            else:
                self.others.append((reply.status, reply.body))

    def goes_on(self, more=20):
        """Waits until every writer has been answered some more times."""
        before = list(self.acknowledged)
        wait_until(lambda: self.others or all(now >= then + more for now, then in zip(self.acknowledged, before)),
                   "more answers", 60)

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()

    def verify(self, client, exactly=True):
        """Every acknowledged message is there, once, in order."""
        for n, acknowledged in enumerate(self.acknowledged):
            messages = client.call("stream.get", f"s-{n}", {"batchSize": -1})
            assert [message[2] for message in messages] == list(range(len(messages)))
            numbers = [message[4]["n"] for message in messages]
            assert numbers[:acknowledged] == list(range(acknowledged))
            assert acknowledged <= len(numbers) <= acknowledged + (0 if exactly else 1)


def hold_stream(connection, stream):
    """Appends to a stream in a transaction that stays open, so that other writers of the stream wait; returns the
    connection."""
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM millrace.append(%s, 'Held', '{}')", (stream,))
    return connection


def waiting(cluster):
    """How many sessions wait for a lock."""
    with cluster.connect().cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return cursor.fetchone()[0]
