"""All who use the servers in one round, in a namespace of its own."""
from load import CATEGORY
from people import CONSUMER, DECIDERS, LEASE, MEMBERS, WRITERS, Decider, Member, Pages, Subscriber, Writer

from store import wait_until

ENOUGH = 15     # answers to each server's writers, until they are said to go on
PATIENCE = 100  # s, for these


class Crowd:
    """`ways`: to the namespace, one by each server."""

    def __init__(self, ways, seed):
        self.ways, self.stubborn, client = ways, [], ways[0].client()
        client.call("consumer.create", CONSUMER, {"category": CATEGORY, "leaseMs": LEASE})
        client.close()
        self.writers, self.deciders, self.members, self.pages, self.subscribers = [], [], [], [], []
        for number, way in enumerate(ways):
            named = [f"{number * 100 + n}" for n in range(max(WRITERS, DECIDERS, MEMBERS))]
            self.writers += [Writer(way, name, seed) for name in named[:WRITERS]]
            self.deciders += [Decider(way, f"decider {name}", seed) for name in named[:DECIDERS]]
            self.members += [Member(way, f"member {name}", seed) for name in named[:MEMBERS]]
            self.pages += [Pages(way, f"pages of {category or 'all'} at {way.name}", category, seed)
                           for category in (CATEGORY, "")]
            self.subscribers.append(Subscriber(way, f"subscriber at {way.name}"))
        for each in [*self.callers, *self.subscribers]:
            each.start()

    @property
    def callers(self):
        return [*self.writers, *self.deciders, *self.members, *self.pages]

    @property
    def appends(self):
        return [append for each in (*self.writers, *self.deciders, *self.stubborn) for append in each.appends]

    @property
    def longest_pause(self):
        """The longest that one who writes or reads waited for an answer, s."""
        return max(each.longest for each in (*self.writers, *self.deciders, *self.pages))

    def add(self, stubborn):
        self.stubborn.append(stubborn)
        stubborn.start()
        return stubborn

    def check_alive(self):
        for each in (*self.callers, *self.subscribers, *self.stubborn):
            if each.error:
                raise each.error

    def acknowledged(self, way):
        return sum(each.acknowledged for each in self.writers if each.client.connection.host == way.host)

    def goes_on(self, ways=None):
        """Waits for answers at each server."""
        before = {way.name: self.acknowledged(way) for way in ways or self.ways}
        for way in ways or self.ways:
            wait_until(lambda: self.check_alive() or self.acknowledged(way) >= before[way.name] + ENOUGH,
                       f"answers to writers at {way.name}", PATIENCE)

    def _end(self, callers):
        for each in callers:
            each.stopped = True
        for each in callers:
            each.join()

    def end_writing(self):
        for each in self.stubborn:
            each.end()
        self._end([*self.writers, *self.deciders])

    def end_reading(self, last):
        """When all is written, up to that global position."""
        client = self.ways[-1].client()
        wait_until(lambda: self.check_alive() or client.call("consumer.info", CONSUMER)["lag"] == 0,
                   "a consumer that has dealt with all", PATIENCE)
        client.close()
        self._end([*self.members, *self.pages])
        for each in self.subscribers:
            each.end(last)

    def give_up(self):
        """Ends all that is left, when something went wrong."""
        for each in (*self.callers, *self.stubborn):
            each.stopped = True
        for each in self.subscribers:
            each.target = -1
