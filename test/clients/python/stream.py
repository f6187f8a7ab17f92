"""Follows /subscribe by one of Python's libraries, as its manual shows it (plain) or as our page says (set).

    stream.py LIBRARY plain|set URL TOKEN

A line for each event: `event [TYPE, ID, LENGTH OF DATA]`.
"""
import asyncio
import json
import sys
import time

library, how, URL, TOKEN = sys.argv[1:]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
last = None  # id


def show(type, id, data):
    global last
    last = id or last
    print("event", json.dumps([type, id, len(data)]), flush=True)


def headers():
    """Those of the next connection."""
    return {**HEADERS, **({"Last-Event-ID": last} if last else {})}


def again_and_again(follow):
    """The loop of one's own."""
    while True:
        try:
            follow()
            print("it ended", file=sys.stderr, flush=True)
        except Exception as error:
            print(repr(error), file=sys.stderr, flush=True)
        time.sleep(0.5)


def httpx_sse_plain():
    import httpx
    from httpx_sse import connect_sse
    with httpx.Client() as client, connect_sse(client, "GET", URL, headers=HEADERS) as source:
        for event in source.iter_sse():
            show(event.event, event.id, event.data)


def httpx_sse_set():
    import httpx
    from httpx_sse import connect_sse
    timeout = httpx.Timeout(10, read=None)
    with httpx.Client(timeout=timeout) as client, connect_sse(client, "GET", URL, headers=headers()) as source:
        source.response.raise_for_status()
        for event in source.iter_sse():
            if event.data:
                show(event.event, event.id, event.data)


def sseclient_py_plain():
    import requests
    import sseclient
    for event in sseclient.SSEClient(requests.get(URL, headers=HEADERS, stream=True)).events():
        show(event.event, event.id, event.data)


def sseclient_py_set():
    import sseclient
    import urllib3
    response = urllib3.PoolManager().request("GET", URL, headers=headers(), preload_content=False)
    if response.status != 200:
        raise ConnectionError(response.status)
    for event in sseclient.SSEClient(response).events():
        show(event.event, event.id, event.data)


def aiosseclient_plain():
    from aiosseclient import aiosseclient

    async def follow():
        async for event in aiosseclient(URL, headers=dict(HEADERS)):
            show(event.event, event.id, event.data)

    asyncio.run(follow())


def aiosseclient_set():
    from aiosseclient import aiosseclient

    async def follow():
        async for event in aiosseclient(URL, last_id=last, headers=dict(HEADERS), raise_for_status=True):
            show(event.event, event.id, event.data)

    asyncio.run(follow())


def aiohttp_sse_client2_plain():
    from aiohttp_sse_client2 import client

    async def follow():
        async with client.EventSource(URL, headers=dict(HEADERS)) as source:
            async for event in source:
                show(event.type, event.last_event_id, event.data)

    asyncio.run(follow())


def aiohttp_sse_client2_set():
    import aiohttp
    from aiohttp_sse_client2 import client

    async def follow():
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=16 << 20) as session:
            async with client.EventSource(URL, session=session, headers=headers()) as source:
                async for event in source:
                    show(event.type, event.last_event_id, event.data)

    asyncio.run(follow())


follow = globals()[f"{library.replace('-', '_')}_{how}"]
follow() if how == "plain" else again_and_again(follow)
