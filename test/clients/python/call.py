"""Calls /rpc by one of Python's libraries: call.py LIBRARY plain|set URL TOKEN, with the work as JSON on stdin.

Writes what the library says of it, as JSON; test/clients/calls.py has both.
"""
import json
import sys

library, how, URL, TOKEN = sys.argv[1:]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def noted(call):
    """What goes wrong with a notification, in words."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def failure(code, message, data):
    return {"error": {"code": code, "message": message, "data": data}}


def pjrpc(work):
    import pjrpc as rpc
    import requests
    from pjrpc.client.backend import requests as backend

    session = requests.Session()
    session.headers.update(HEADERS)
    client = backend.Client(URL, session=session)
    ids = iter(range(1, 1000))

    def request(call, **of):
        return rpc.Request(call["method"], params=call["params"], **of)

    def shown(response):
        if response.is_success:
            return {"result": response.result}
        return failure(response.error.code, response.error.message, response.error.data)

    for part in "calls", "named":
        yield part, [shown(client.send(request(call, id=next(ids)))) for call in work[part]]
    yield "batch", [
        shown(response)
        for response in client.send(rpc.BatchRequest(*(request(call, id=next(ids)) for call in work["batch"])))
    ]
    yield "notification", noted(lambda: client.send(request(work["notification"])))


def jsonrpcclient(work):
    import requests
    from jsonrpcclient import Ok, notification, parse, request

    def post(body):
        return requests.post(URL, headers=HEADERS, json=body)

    def shown(response):
        if isinstance(response, Ok):
            return {"result": response.result}
        return failure(response.code, response.message, response.data)

    def notify():
        call = work["notification"]
        reply = post(notification(call["method"], params=call["params"]))
        if how == "plain" or reply.status_code != 204:
            parse(reply.json())

    for part in "calls", "named":
        yield part, [shown(parse(post(request(call["method"], params=call["params"])).json())) for call in work[part]]
    batch = [request(call["method"], params=call["params"]) for call in work["batch"]]
    yield "batch", [shown(response) for response in parse(post(batch).json())]
    yield "notification", noted(notify)


def jsonrpclib_pelix(work):
    import jsonrpclib

    server = jsonrpclib.ServerProxy(URL, headers=HEADERS)

    def invoke(proxy, call):
        for name in call["method"].split("."):
            proxy = getattr(proxy, name)
        params = call["params"]
        return proxy(**params) if isinstance(params, dict) else proxy(*params)

    def shown(result):
        try:
            return {"result": result()}
        except jsonrpclib.ProtocolError as error:
            code, message, *data = error.args[0]
            return failure(code, message, data[0] if data else None)

    for part in "calls", "named":
        yield part, [shown(lambda: invoke(server, call)) for call in work[part]]
    batch = jsonrpclib.MultiCall(server)
    for call in work["batch"]:
        invoke(batch, call)
    results = batch()
    yield "batch", [shown(lambda: results[n]) for n in range(len(work["batch"]))]
    yield "notification", noted(lambda: invoke(server._notify, work["notification"]))


said = {}
for part, result in globals()[library.replace("-", "_")](json.load(sys.stdin)):
    said[part] = result
    print(json.dumps(said), flush=True)
