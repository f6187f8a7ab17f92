"""Three services on consumers, sidecar/examples/orders: each order is paid and shipped once, also when one is killed.

A service's lines are counted: those that are its business, and those that it needs for consuming.
"""
import re
import sys

import pytest

import certificates
from store import ROOT, wait_until

FOLDER = ROOT / "sidecar" / "examples" / "orders"
SERVICES = ["orders", "payments", "shipping"]
HELPER_LINES = 15

pytestmark = pytest.mark.skipif(certificates.EVERYWHERE, reason="the examples speak to a server without TLS")


def count_lines(service):
    """How many lines of a service are its business, and how many it needs for consuming.

    Imports, comments and empty lines are neither; the line that calls the business is business.
    """
    business, rest = (FOLDER / f"{service}.py").read_text().split("# ---- the rest")
    rest = rest.partition("\n")[2]

    def count(text):
        text = re.sub(r'""".*?"""', "", text, flags=re.S)
        return len([line for line in text.splitlines() if not re.match(r"\s*(#|import |from |$)", line)])
    calls = rest.count(" handle(")
    return count(business) + calls, count(rest) - calls


def test_the_order_system_needs_few_lines_for_consuming(capsys):
    counts = {service: count_lines(service) for service in SERVICES}
    with capsys.disabled():
        print("\n" + ", ".join(f"{service}: {business} lines of business, {rest} for consuming"
                               for service, (business, rest) in counts.items()))
    assert all(0 < rest <= HELPER_LINES for _, rest in counts.values())


def check_out(client, first, last):
    for number in range(first, last):
        client.write(f"cart-{number}", {"customer": f"c{number}", "items": [{"price": 30 * number, "count": 2}]},
                     "CheckedOut")


def types(client, category):
    """The types of each stream's messages."""
    found = {}
    for message in client.call("category.get", category, {"batchSize": -1}):
        found.setdefault(message[1], []).append(message[2])
    return found


def test_each_order_is_paid_and_shipped_once(client, members):
    def start(service):
        members.start(service, sys.executable, str(FOLDER / f"{service}.py"))

    orders = 30
    check_out(client, 0, orders // 2)
    for service in SERVICES:
        start(service)
    wait_until(lambda: len(types(client, "payment")) > 3, "the first payments", 60)
    members.kill("payments")
    check_out(client, orders // 2, orders)
    start("payments")
    wait_until(lambda: len(types(client, "payment")) == orders, "all payments", 120)
    paid = {f"payment-{n}": ["Paid" if 60 * n <= 1000 else "Declined"] for n in range(orders)}
    shipped = {f"shipment-{n}": ["Shipped"] for n in range(orders) if 60 * n <= 1000}
    wait_until(lambda: len(types(client, "shipment")) >= len(shipped), "all shipments", 120)
    for service in SERVICES:
        wait_until(lambda: client.call("consumer.info", service)["lag"] == 0, f"{service} to settle all", 120)
    assert types(client, "order") == {f"order-{n}": ["Placed"] for n in range(orders)}
    assert types(client, "payment") == paid and types(client, "shipment") == shipped
