"""Shipping: an order that is paid is shipped."""
import json
import os
import sys
import time
from urllib.request import Request, urlopen
from uuid import NAMESPACE_URL, uuid4, uuid5

SERVICE, CATEGORY = "shipping", "payment"


def handle(number, kind, payment):
    if kind == "Paid":
        write("shipment-" + number, "Shipped", {"customer": payment["customer"]})


def write(stream, kind, data):
    """With an id that is the stream's own: done again, it is stored once."""
    call("stream.write", stream, {"type": kind, "data": data}, {"id": str(uuid5(NAMESPACE_URL, stream))})


# ---- the rest: the same in every service ----


def call(*args):
    auth = {"Authorization": "Bearer " + os.environ["TOKEN"]}
    return json.load(urlopen(Request(os.environ["MILLRACE_URL"] + "/rpc", json.dumps(args).encode(), auth), timeout=90))


call("consumer.create", SERVICE, {"category": CATEGORY})
request, settle = str(uuid4()), []
while True:
    try:
        claim = call("consumer.next", SERVICE, {"request": request, "settle": settle})
        request, settle = str(uuid4()), []
        for _, stream, kind, position, place, data, _, _ in claim["messages"]:
            settle = [{"claim": claim["claim"], "upTo": place, "failed": [{"stream": stream, "position": position}]}]
            handle(stream.partition("-")[2], kind, data)
            settle = [{"claim": claim["claim"]}]
    except Exception as error:  # that message is tried again, those behind it are given back
        print(error, file=sys.stderr)
        time.sleep(1)
