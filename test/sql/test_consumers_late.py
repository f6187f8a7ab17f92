"""What comes late to a consumer: the same request again, a settlement that nobody has taken in, who asks for one that
is dropped in this moment."""
import datetime
import threading

import psycopg2

from store import sql
from test_consumers import append, create, next_claim, postgres, settle, status, store  # noqa: F401


def test_the_same_request_has_its_whole_lease_again(store):  # noqa: F811
    create(store)
    append(store, "a-1")
    again = ("SELECT claim FROM millrace.consumer_next('c', lease => '1 hour', namespace => 'n', "
             "request => '00000000-0000-0000-0000-000000000001')")
    claim = sql(store, again)
    sql(store, "UPDATE millrace_n.consumer_claims SET lease_until = clock_timestamp() + interval '1 s', "
        "granted = clock_timestamp() - interval '59 min 59 s'")
    assert sql(store, again) == claim
    assert sql(store, "SELECT lease_until - granted, granted > now() - interval '1 min' FROM "
        "millrace.consumer_claims_open") == [(datetime.timedelta(hours=1), True)]


def test_dropped_while_others_look_at_it_or_settle(postgres, store):  # noqa: F811
    """Whoever comes too late is told that there is no such consumer or claim, never that rows are missing."""
    sql(store, "SELECT millrace.create_consumer('other', namespace => 'n')")
    ended, codes = threading.Event(), set()

    def ask(statement):
        connection = postgres.connect()
        while not ended.is_set():
            try:
                sql(connection, statement)
            except psycopg2.Error as error:
                codes.add(error.pgcode)

    asking = [threading.Thread(target=ask, args=(statement,)) for statement in (
        "SELECT * FROM millrace.consumer_status", "SELECT millrace.consumer_settle('c', 1, namespace => 'n')")]
    for thread in asking:
        thread.start()
    for _ in range(1000):
        create(store)
        sql(store, "SELECT millrace.drop_consumer('c', 'n')")
    ended.set()
    for thread in asking:
        thread.join()
    assert codes == {"MR015", "MR016"}


def test_what_is_kept_parked_includes_what_no_call_has_taken_in(store):  # noqa: F811
    create(store)
    append(store, "a-1", 2)
    claim, _ = next_claim(store)
    settle(store, claim, failed='[{"stream": "a-1", "position": 1, "park": true}]')
    sql(store, "SELECT millrace.consumer_reset('c', 100, keep_parked => true, namespace => 'n')")
    assert status(store, "parked") == (1,)
    assert sql(store, "SELECT millrace.consumer_unpark('c', namespace => 'n')") == [(1,)]
    assert [(message[0], message[1]) for message in next_claim(store)[1]] == [("a-1", 1)]
