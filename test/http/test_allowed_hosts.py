"""A listener without tokens answers no page of another site: neither one that gave its name our address, nor one that
writes."""
import pytest

from store import Server, token_for

ADMIN = ("--admin-listen", "127.0.0.1:0")
ADDRESSES = ["127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "localhost", "LocalHost:9"]
FOREIGN = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "1", "[evil]:80"]


@pytest.fixture(scope="module")
def listeners(request):
    server = Server("--test-mode", *ADMIN,
                    variables={"MILLRACE_ALLOWED_HOSTS": "millrace,Prometheus.example, proxy.example:8079"})
    request.addfinalizer(server.stop)
    return server.client(), server.admin()


def test_by_address_and_by_an_allowed_name_all_is_answered(listeners):
    public, admin = listeners
    for host in [*ADDRESSES, "millrace", "millrace:9090", "prometheus.example", "proxy.example", "proxy.example:8079"]:
        assert public.request("GET", "/health", headers={"Host": host}).status == 200, host
        assert admin.request("GET", "/metrics", headers={"Host": host}).status == 200, host


@pytest.mark.parametrize("host", FOREIGN)
def test_by_another_name_nothing_is(listeners, host):
    public, admin = listeners
    for client, method, path in ((public, "GET", "/health"), (public, "POST", "/rpc"),
                                 (public, "GET", "/subscribe?all=true"), (public, "GET", "/export"),
                                 (admin, "GET", "/metrics"), (admin, "GET", "/debug/connections"), (admin, "GET",
                                                                                                    "/live")):
        reply = client.request(method, path, headers={"Host": host})
        assert reply.status == 403 and "--allowed-hosts" in str(reply.body), (path, reply.body)


def test_where_tokens_are_asked_for_any_name_will_do(secured):
    assert secured.client().request("GET", "/health", headers={"Host": "evil.example"}).status == 200


@pytest.mark.parametrize("origin, status", [("http://evil.example", 403), ("null", 403), ("http://localhost:1", 403),
                                            ("http://a.example", 200), (None, 200), ("http://localhost:8080", 200),
                                            ("https://LOCALHOST:8080", 200)])
def test_in_test_mode_a_page_of_another_site_writes_nothing(start, origin, status):
    server = start("--test-mode", "--cors-origin", "http://a.example", token=token_for("default"))
    headers = {"Host": "localhost:8080", **({"Origin": origin} if origin else {})}
    reply = server.client().request("POST", "/rpc", b'["stream.write", "s-1", {"type": "T", "data": {}}]', headers)
    assert reply.status == status and (status == 200 or "--cors-origin" in reply.error["message"])
    assert (server.client().call("stream.version", "s-1") is not None) == (status == 200)
