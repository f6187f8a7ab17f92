"""A member by HTTP, at both servers: it settles in the request that asks, at times by itself, and where an answer is
lost it sends the same again, mostly to the other server."""
import http.client
import json
import time
import uuid

from member import Member, Message

AGAIN = (502, 503, 504)


class HttpMember(Member):
    def __init__(self):
        super().__init__()
        self.to_settle = None

    def once(self, body):
        """One attempt: status and answer; on a connection of its own, so that what a stopped member says arrives."""
        connection = http.client.HTTPConnection("127.0.0.1", self.random.choice(self.ports), timeout=30)
        try:
            connection.request("POST", "/rpc", body, {"Authorization": f"Bearer {self.token}"})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def ask(self, method, options):
        """Until there is an answer: whether an earlier attempt can't have done it, status and answer."""
        body, sure = json.dumps([method, self.consumer, options]), True
        while True:
            try:
                status, answer = self.once(body)
                if status not in AGAIN:
                    return sure, status, answer
                sure = False
            except ConnectionRefusedError:
                pass
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                sure = False
            time.sleep(0.05 + self.random.random() * 0.1)

    def step(self):
        if self.to_settle and self.random.random() < 0.2:
            self.settle_alone()
        options = {"max": self.how_many(), "waitMs": 1000, "member": self.name, "request": str(uuid.uuid4())}
        if self.to_settle:
            options["settle"] = [self.said()]
        sure, status, answer = self.ask("consumer.next", options)
        if status != 200:
            raise RuntimeError(f"{options}: {status} {answer}")
        for claim in answer.get("settled", []):
            self.file.write(settled=claim)
        for claim in answer.get("lost", []):
            self.file.write(lost=claim, sure=sure)
        self.to_settle = None
        if answer["claim"] is not None:
            self.take(answer)

    def take(self, answer):
        retries, messages = answer.get("retries", {}), []
        for _, stream, kind, position, global_position, *_ in answer["messages"]:
            retry = retries.get(stream)
            attempt = retry["attempt"] if retry and retry["position"] == position else 1
            messages.append(Message(stream, kind, position, global_position, attempt))
        if self.random.random() < 0.05:
            self.ask("consumer.extend", {"claim": answer["claim"]})
        self.to_settle = self.work(answer["claim"], messages)

    def said(self):
        """The settlement as it is sent; written down before."""
        settlement = self.to_settle
        self.file.write(settling=settlement.claim, done=settlement.done)
        said = {"claim": settlement.claim, "failed": settlement.failed}
        if settlement.up_to is not None:
            said["upTo"] = settlement.up_to
        if settlement.release:
            said = {"claim": settlement.claim, "release": True}
        return said

    def settle_alone(self):
        claim = self.to_settle.claim
        sure, status, answer = self.ask("consumer.settle", self.said())
        if status == 200:
            self.file.write(settled=claim)
        elif status == 409 and answer["error"]["code"] == "CLAIM_LOST":
            self.file.write(lost=claim, sure=sure)
        else:
            raise RuntimeError(f"consumer.settle: {status} {answer}")
        self.to_settle = None

    def leave(self):
        if self.to_settle:
            self.settle_alone()


if __name__ == "__main__":
    HttpMember().run()
