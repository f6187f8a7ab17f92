"""Members of consumers that wait, for the tests of consumer.next."""
import http.client
import json
import threading
import time

from store import RpcError, new_id, sql, token_for, wait_until

LOCAL = ["--test-mode", "--without-authentication", "--listen", "127.0.0.1"]


class Member:
    """A call of consumer.next that waits, on a connection of its own."""

    def __init__(self, server, token, consumer="billing", waitMs=50000, **options):
        self.client = server.client(token, timeout=120)
        self.answer = self.error = self.answered = None
        self.began = time.monotonic()
        self.call = ["consumer.next", consumer, {"waitMs": waitMs, **options}]
        if waitMs is None:
            del self.call[2]["waitMs"]
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self):
        try:
            self.answer = self.client.call(*self.call)
        except (RpcError, OSError) as error:
            self.error = error
        self.answered = time.monotonic()

    def wait(self, seconds=30):
        """The answer."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"{self.call} was not answered in {seconds} s"
        self.client.close()
        if self.error:
            raise self.error
        return self.answer

    @property
    def took(self):
        return self.answered - self.began


class Gone:
    """A call of consumer.next that is sent, and whose client can hang up."""

    def __init__(self, server, token, consumer="billing", waitMs=50000, **options):
        body = json.dumps(["consumer.next", consumer, {"waitMs": waitMs, **options}]).encode()
        self.socket = server.connect()
        self.socket.sendall(b"POST /rpc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n" %
                            (token.encode(), len(body)) + body)

    def wait(self):
        """The answer, as of one who stays."""
        response = http.client.HTTPResponse(self.socket, method="POST")
        response.begin()
        return json.loads(response.read())

    def hang_up(self):
        self.socket.close()


def at_once(attempt, what, within=0.7):
    """attempt() returns how long something took; three of them in a row are quick.  A busy machine gets more."""
    took = []

    def three():
        took.append(attempt())
        return len(took) >= 3 and max(took[-3:]) < within
    try:
        wait_until(three, what, 60)
    except AssertionError:
        raise AssertionError(f"{what} took {took}")


class Space:
    """A namespace with a consumer, seen by HTTP and by SQL."""

    def __init__(self, servers, cluster, **options):
        self.name = "waiting " + new_id()
        self.token, self.servers, self.cluster = token_for(self.name), servers, cluster
        self.client = servers[0].client(self.token)
        self.client.call("consumer.create", "billing", options)

    def member(self, server=0, **options):
        return Member(self.servers[server], self.token, **options)

    def sql(self, statement, *arguments, connection=None):
        connection = connection or self.cluster.connect()
        sql(connection, "SELECT set_config('millrace.namespace', %s, false)", self.name)
        return sql(connection, statement, *arguments)

    def info(self):
        return self.client.call("consumer.info", "billing")

    def settle(self, answer, **more):
        self.client.call("consumer.settle", "billing", {"claim": answer["claim"], **more})


def waits(space, seconds=0.3):
    """Gives a call the time to begin to wait; nothing tells of it."""
    time.sleep(seconds)
