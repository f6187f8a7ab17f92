"""The clients that are tried, and how each is set up; sidecar/CLIENTS.md shows it."""
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Client:
    """A library, in the versions that the manifests of its ecosystem name.

    `setting` is what our page says beyond the library's own manual, and what the programs do when they are called
    with `set`.
    """

    def __init__(self, name, ecosystem, package=None, setting=""):
        self.name, self.ecosystem, self.setting = name, ecosystem, setting
        self.version = version_of(ecosystem, package or name)


MANIFESTS = {
    "python": ("requirements.txt", r"(?m)^{}(?:\[.*\])?==(\S+)"),
    "node": ("package.json", r'"{}": "(?:npm:\w+@)?([^"]+)"'),
    "go": ("go.mod", r"{} v(\S+)"),
    "rust": ("Cargo.toml", r'{} = .*?"=([\d.]+)"'),
    "java": ("pom.xml", r"<artifactId>{}</artifactId>\s*<version>([^<]+)"),
}


def version_of(ecosystem, package):
    if ecosystem == "curl":
        return "the system's"
    name, pattern = MANIFESTS[ecosystem]
    return re.search(pattern.format(re.escape(package)), (HERE / ecosystem / name).read_text()).group(1)


LOOP = "a loop of one's own"

STREAMS = [
    Client("curl", "curl", setting=LOOP),
    Client("httpx-sse", "python", setting=f"`read=None`; {LOOP}; skip events without data"),
    Client("sseclient-py", "python", setting=f"urllib3 below it; check the status; {LOOP}"),
    Client("aiosseclient", "python", setting=f"`raise_for_status`; {LOOP}"),
    Client("aiohttp-sse-client2", "python", setting=f"a session with `read_bufsize` and without a timeout; {LOOP}"),
    Client("eventsource 3", "node", "eventsource3", "a new one when it is closed for good"),
    Client("eventsource 4", "node", "eventsource4", "a new one when it is closed for good"),
    Client("undici", "node", setting="`token=` in the URL; keep Node busy; a new one when it is closed for good"),
    Client("eventsource-parser", "node", setting=LOOP),
    Client("@microsoft/fetch-event-source", "node",
           setting="`onopen` and `onclose` that throw; skip events without data"),
    Client("r3labs/sse", "go", "r3labs/sse/v2", f"`ClientMaxBufferSize`; {LOOP}; skip events without data"),
    Client("tmaxmax/go-sse", "go", setting=f"`Buffer`; {LOOP}"),
    Client("eventsource-client", "rust", setting="`retry_initial(true)`"),
    Client("reqwest-eventsource", "rust", setting="a new one when it is closed for good"),
    Client("okhttp-sse", "java", setting=f"`readTimeout(Duration.ZERO)`; {LOOP}"),
]

CALLS = [
    Client("pjrpc", "python"),
    Client("jsonrpcclient", "python", setting="do not parse the empty 204"),
    Client("jsonrpclib-pelix", "python"),
    Client("json-rpc-2.0", "node"),
    Client("jayson", "node"),
    Client("ybbus/jsonrpc", "go", "ybbus/jsonrpc/v3"),
    Client("creachadair/jrpc2", "go"),
    Client("ethereum/go-ethereum rpc", "go", "ethereum/go-ethereum"),
    Client("jsonrpsee", "rust"),
    Client("jsonrpc4j", "java"),
]

PEERS = [
    Client("message-db-py", "python"),
    Client("protean", "python"),
    Client("message-db-connector", "node", setting="give reader and writer their `db`: they overlook the address"),
]
