"""Events as applications store them: names, addresses, amounts, times, ids."""
import json
import random
import uuid
from datetime import datetime, timedelta, timezone

FIRST = ("Marta Jonas Amira Pavel Chloe Hiroshi Ingrid Tomas Leila Anders Giulia Viktor Nadia Owen Beatriz Lukas Sofie "
         "Karim Elena Mateusz").split()
LAST = ("Lindqvist Okafor Baumann Rossi Tanaka Novak Haddad Dubois Eriksen Moreau Kowalski Silva Petrov Walsh Yilmaz "
        "Jansen Costa Fischer Nowak Andersson").split()
STREETS = "Bergstrasse|Kirkegata|Harbour Road|Rue des Lilas|Via Garibaldi|Long Lane|Dorfplatz|Storgatan".split("|")
CITIES = "Hamburg Oslo Bristol Lyon Torino Leeds Graz Uppsala Gdansk Porto".split()
CURRENCIES = "EUR SEK GBP NOK PLN".split()
BEGIN = datetime(2026, 3, 1, tzinfo=timezone.utc)


def new_id(rng):
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def time(rng):
    moment = BEGIN + timedelta(milliseconds=rng.randrange(20_000_000_000))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def amount(rng):
    return round(rng.lognormvariate(4, 1), 2)


def person(rng):
    first, last = rng.choice(FIRST), rng.choice(LAST)
    return f"{first} {last}", f"{first}.{last}{rng.randrange(100)}@example.com".lower()


def deposited(rng):
    name, _ = person(rng)
    return "Deposited", {
        "accountId": new_id(rng), "depositId": new_id(rng), "holder": name, "amount": amount(rng),
        "currency": rng.choice(CURRENCIES), "reference": f"Invoice {rng.randrange(100000)}, {rng.choice(LAST)} & Sons",
        "time": time(rng), "processedTime": time(rng)
    }


def order_placed(rng, lines=2):
    name, email = person(rng)
    return "OrderPlaced", {
        "orderId": new_id(rng), "customer": {"name": name, "email": email},
        "lines": [{"sku": f"{rng.choice(LAST)[:2].upper()}-{rng.randrange(10**5):05}", "quantity": rng.randrange(1, 6),
                   "price": amount(rng)} for _ in range(lines)],
        "total": amount(rng), "currency": rng.choice(CURRENCIES), "placedAt": time(rng)
    }


def address_changed(rng):
    name, email = person(rng)
    return "AddressChanged", {
        "customerId": new_id(rng), "name": name, "email": email,
        "address": {"street": f"{rng.choice(STREETS)} {rng.randrange(1, 200)}",
                    "postcode": f"{rng.randrange(10**5):05}", "city": rng.choice(CITIES)},
        "validFrom": time(rng), "changedBy": new_id(rng)
    }


def shipped(rng):
    return "Shipped", {
        "orderId": new_id(rng), "parcelId": new_id(rng), "carrier": rng.choice(LAST) + " Express",
        "trackingNumber": f"{rng.randrange(10**12):012}", "weight": round(rng.uniform(0.2, 20), 3),
        "destination": rng.choice(CITIES), "shippedAt": time(rng), "expectedAt": time(rng)
    }


def events(count, seed=1):
    """Yields type and data, as JSON text, of so many events of about 300 bytes, the same for a seed."""
    rng = random.Random(seed)
    for _ in range(count):
        kind, data = rng.choice((deposited, order_placed, address_changed, shipped))(rng)
        yield kind, json.dumps(data, separators=(",", ":"))


def orders(count, seed=1):
    """The same of orders of ten lines, of about 700 bytes."""
    rng = random.Random(seed)
    for _ in range(count):
        kind, data = order_placed(rng, 10)
        yield kind, json.dumps(data, separators=(",", ":"))
