"""Prints the messages of category `wallet`, each stream in order.  Start several, and again after a crash."""
import json
import os
import time
import uuid
from urllib.request import Request, urlopen

URL = os.environ.get("MILLRACE_URL", "http://localhost:8080") + "/rpc"
HEADERS = {"Authorization": "Bearer " + os.environ["TOKEN"]}


def call(*request):
    """Sends it until there is an answer; a request that is refused is an error, but not for asking too much (429)."""
    while True:
        try:
            with urlopen(Request(URL, json.dumps(request).encode(), HEADERS), timeout=90) as answer:
                return json.load(answer)
        except Exception as error:
            if getattr(error, "code", 503) in range(400, 500) and error.code != 429:
                raise RuntimeError(error.read().decode()) from error
            time.sleep(1)


def handle(stream, position, data):
    """What is to be done.  It may be done again, after a crash: this must do no harm."""
    if data["amount"] < 0:
        raise ValueError("the amount is negative")
    print(stream, position, data["amount"], flush=True)


call("consumer.create", "printer", {"category": "wallet", "leaseMs": 10000})
settle = []
while True:
    answer = call("consumer.next", "printer", {"request": str(uuid.uuid4()), "settle": settle})
    failed = {}
    for _, stream, _, position, _, data, _, _ in answer["messages"]:
        try:
            if stream not in failed:  # else it comes again, behind the one that failed
                handle(stream, position, data)
        except Exception as error:
            failed[stream] = {"stream": stream, "position": position, "error": str(error)}
    settle = [{"claim": answer["claim"], "failed": list(failed.values())}] if answer["claim"] else []
