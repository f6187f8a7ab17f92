"""Uses the functions of Message DB by one of Python's clients: peer.py LIBRARY plain ADDRESS.

A line for each part that went as it should: `good PART`; test/clients/peers.py has the parts.
"""
import sys
from uuid import uuid4

library, how, ADDRESS = sys.argv[1:]


def good(part, *truths):
    if all(truths):
        print("good", part, flush=True)
    else:
        print(part, truths, file=sys.stderr, flush=True)


def message_db_py():
    from message_db.client import MessageDB

    store, category = MessageDB.from_url(ADDRESS), f"account{uuid4().hex[:8]}"
    stream = f"{category}-1"
    first = store.write(stream, "Opened", {"owner": "Ada"}, metadata={"correlationStreamName": "bank-1"})
    second = store.write(stream, "Deposited", {"amount": 10}, expected_version=0)
    good("append", first == 0, second == 1)
    try:
        store.write(stream, "Deposited", {"amount": 10}, expected_version=0)
    except ValueError as error:
        good("wrong version", "Wrong expected version: 0" in str(error))
    messages = store.read(stream)
    good("stream", [message["type"] for message in messages] == ["Opened", "Deposited"],
         messages[0]["metadata"] == {"correlationStreamName": "bank-1"}, messages[1]["data"] == {"amount": 10},
         len(store.read(stream, position=1)) == 1)
    store.write(f"{category}-2", "Opened", {})
    messages = store.read_category(category)
    good("category", [message["stream_name"] for message in messages] == [stream, stream, f"{category}-2"],
         messages == store.read(category), store.read(category, no_of_messages=1) == messages[:1])
    last, none = store.read_last_message(stream), store.read_last_message("none-1")
    good("last message", last["position"] == 1, last["data"] == {"amount": 10}, none is None)
    store.write_batch(f"{category}-3", [("A", {}), ("B", {}), ("C", {})], expected_version=-1)
    shares = [store.read_category(category, consumer_group_member=n, consumer_group_size=2) for n in (0, 1)]
    good("groups, projections, handlers", len(store.read(f"{category}-3")) == 3,
         sorted(message["global_position"] for share in shares for message in share) == sorted(
             message["global_position"] for message in store.read(category)),
         sorted(store.stream_identifiers(category)) == ["1", "2", "3"])


def protean():
    from protean import Domain, UnitOfWork, apply, handle
    from protean.exceptions import ExpectedVersionError
    from protean.fields import Identifier, Integer
    from protean.server import Engine
    from protean.utils.globals import current_domain

    name = f"bank{uuid4().hex[:8]}"
    domain = Domain(name=name, config={
        "event_store": {"provider": "message_db", "database_uri": ADDRESS}, "event_processing": "async",
        "command_processing": "sync", "server": {"default_subscription_type": "event_store"}
    })
    seen = []

    @domain.event(part_of="Account")
    class Opened:
        id = Identifier(identifier=True)

    @domain.event(part_of="Account")
    class Deposited:
        id = Identifier(identifier=True)
        amount = Integer()

    @domain.aggregate(is_event_sourced=True, stream_category=f"{name}account")
    class Account:
        balance = Integer(default=0)

        @classmethod
        def open(cls, id):
            account = cls(id=id)
            account.raise_(Opened(id=id))
            return account

        def deposit(self, amount):
            self.raise_(Deposited(id=self.id, amount=amount))

        @apply
        def opened(self, event: Opened):
            self.id = event.id
            self.balance = 0

        @apply
        def deposited(self, event: Deposited):
            self.balance += event.amount

    @domain.event_handler(part_of=Account)
    class Watcher:

        @handle(Deposited)
        def on_deposited(self, event):
            seen.append(event.amount)

    domain.init(traverse=False)
    with domain.domain_context():
        repository, store, id = current_domain.repository_for(Account), domain.event_store.store, str(uuid4())
        account = Account.open(id)
        account.deposit(10)
        repository.add(account)
        stale = repository.get(id)
        account = repository.get(id)
        account.deposit(5)
        repository.add(account)
        stream = next(message.metadata.headers.stream for message in store.read(f"{Account.meta_.stream_category}"))
        good("append", store._read_last_message(stream)["position"] == 2)
        stale.deposit(1)
        try:
            with UnitOfWork():
                repository.add(stale)
        except ExpectedVersionError:
            good("wrong version", True)
        types = [message.metadata.headers.type.split(".")[1] for message in store.read(stream)]
        good("stream", types == ["Opened", "Deposited", "Deposited"], repository.get(id).balance == 15)
        repository.add(Account.open(str(uuid4())))
        good("category", len(store.read(Account.meta_.stream_category)) == 4)
        good("last message", store.read_last_message(stream).data["amount"] == 5)
        Engine(domain, test_mode=True).run()
        good("groups, projections, handlers", seen == [10, 5])


globals()[library.replace("-", "_")]()
