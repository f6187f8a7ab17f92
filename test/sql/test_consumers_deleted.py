"""Consumers whose messages are deleted while they are in a claim: nothing else is lost or given twice."""
import psycopg2
import pytest

from store import new_id, sql
from test_consumers import append, create, expire, next_claim, postgres, settle, status, store  # noqa: F401

ORDERINGS = pytest.mark.parametrize("ordering", ["stream", "all"])


def delete(connection, stream, *positions):
    assert sql(connection, "DELETE FROM millrace_n.messages WHERE stream_name = %s AND \"position\" = ANY (%s) "
        "RETURNING 1", stream, list(positions)) == [(1,)] * len(positions)


def places(messages):
    return [message[:2] for message in messages]


def let_time_pass(connection):
    sql(connection, "UPDATE millrace_n.consumer_streams SET retry_at = NULL")


def drain(connection):
    """Settles one claim after the other; returns what was given."""
    given = []
    for _ in range(100):
        let_time_pass(connection)
        claim, messages = next_claim(connection)
        if not claim:
            break
        settle(connection, claim)
        given += places(messages)
    assert status(connection, "claims", "waiting", "lag") == (0, 0, 0)
    return given


@ORDERINGS
def test_the_rest_of_a_claim_whose_lease_runs_out(store, ordering):  # noqa: F811
    create(store, ordering=ordering)
    append(store, "a-1", 4)
    append(store, "a-2")
    assert len(next_claim(store)[1]) == 5
    delete(store, "a-1", 0, 2)
    expire(store)
    assert sorted(drain(store)) == [("a-1", 1), ("a-1", 3), ("a-2", 0)]


@ORDERINGS
@pytest.mark.parametrize("settled", [{"release": True}, {"up_to": 2}])
def test_the_rest_of_what_is_given_back(store, ordering, settled):  # noqa: F811
    create(store, ordering=ordering)
    append(store, "a-1", 5)
    claim, _ = next_claim(store)
    delete(store, "a-1", 0, 2)
    settle(store, claim, **settled)
    assert drain(store) == [("a-1", position) for position in (1, 3, 4) if position >= settled.get("up_to", 0)]


@ORDERINGS
@pytest.mark.parametrize("before", [True, False])
def test_the_rest_of_a_claim_of_which_one_failed(store, ordering, before):  # noqa: F811
    create(store, ordering=ordering)
    append(store, "a-1", 6)
    claim, _ = next_claim(store, 5)
    if before:
        delete(store, "a-1", 0, 2)
    settle(store, claim, failed='[{"stream": "a-1", "position": 3, "delayMs": 0}]')
    if not before:
        delete(store, "a-1", 0, 2)
    assert drain(store) == [("a-1", 3), ("a-1", 4), ("a-1", 5)]


@ORDERINGS
def test_what_is_not_in_the_claim_can_not_have_failed(store, ordering):  # noqa: F811
    create(store, ordering=ordering)
    append(store, "a-1", 6)
    claim, _ = next_claim(store, 3)
    delete(store, "a-1", 0, 1)
    for position in (0, 3, 4):
        with pytest.raises(psycopg2.Error) as error:
            settle(store, claim, failed=f'[{{"stream": "a-1", "position": {position}, "delayMs": 0}}]')
        assert error.value.pgcode == "MR009"
    settle(store, claim)
    assert drain(store) == [("a-1", 3), ("a-1", 4), ("a-1", 5)]


@ORDERINGS
def test_the_same_claim_again_has_no_more_than_before(store, ordering):  # noqa: F811
    create(store, ordering=ordering)
    append(store, "a-1", 6)
    again = ("SELECT claim, \"position\" FROM millrace.consumer_next('c', 3, request => %s, namespace => 'n')",
        new_id())
    claim = sql(store, *again)[0][0]
    delete(store, "a-1", 1)
    assert sql(store, *again) == [(claim, 0), (claim, 2)]
    delete(store, "a-1", 0)
    assert sql(store, *again) == [(claim, 2)]
    settle(store, claim)
    assert drain(store) == [("a-1", 3), ("a-1", 4), ("a-1", 5)]


def test_a_stream_that_was_due(store):  # noqa: F811
    """Its row says what of it is in the claim."""
    create(store)
    append(store, "a-1", 6)
    claim, _ = next_claim(store)
    settle(store, claim, release=True)
    claim, messages = next_claim(store, 6)
    assert places(messages) == [("a-1", 0), ("a-1", 1), ("a-1", 2)], "half of what there is room for"
    delete(store, "a-1", 0, 1)
    for position in (1, 3):
        with pytest.raises(psycopg2.Error) as error:
            settle(store, claim, failed=f'[{{"stream": "a-1", "position": {position}}}]')
        assert error.value.pgcode == "MR009"
    expire(store)
    assert drain(store) == [("a-1", position) for position in range(2, 6)]


def test_the_same_claim_again_of_a_stream_that_was_due(store):  # noqa: F811
    create(store)
    append(store, "a-1", 6)
    claim, _ = next_claim(store)
    settle(store, claim, release=True)
    again = "SELECT \"position\" FROM millrace.consumer_next('c', 6, request => %s, namespace => 'n')", new_id()
    assert sql(store, *again) == [(0,), (1,), (2,)]
    delete(store, "a-1", 1)
    assert sql(store, *again) == [(0,), (2,)]


def test_nothing_of_the_claim_is_left(store):  # noqa: F811
    """What came to the stream meanwhile is given at once."""
    create(store)
    append(store, "a-1", 2)
    next_claim(store)
    append(store, "a-1", 1)
    assert next_claim(store) == (None, [])
    append(store, "a-2", 1)
    claim, messages = next_claim(store)
    assert places(messages) == [("a-2", 0)]
    settle(store, claim)
    delete(store, "a-1", 0, 1)
    expire(store)
    claim, messages = next_claim(store)
    assert places(messages) == [("a-1", 2)]
    settle(store, claim)
    assert drain(store) == []


@pytest.mark.parametrize("deleted", [[0], [0, 1]])
def test_another_stream_with_the_same_hash(store, deleted):  # noqa: F811
    """It waits for the one that is in the claim, and is not taken for that one."""
    names = ["8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"]
    create(store)
    append(store, names[0])
    append(store, names[1], 2)
    append(store, names[0])
    claim, messages = next_claim(store)
    assert places(messages) == [(names[0], 0), (names[0], 1)]
    delete(store, names[0], *deleted)
    expire(store)
    given = drain(store)
    assert sorted(given) == sorted([(names[0], position) for position in (0, 1) if position not in deleted] +
        [(names[1], 0), (names[1], 1)])


def test_another_stream_with_the_same_hash_was_settled_meanwhile(store):  # noqa: F811
    names = ["8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"]
    create(store)
    append(store, names[0], 2)
    claim, _ = next_claim(store, 1)
    settle(store, claim, failed=f'[{{"stream": "{names[0]}", "position": 0, "delayMs": 3600000}}]')
    append(store, names[1])
    claim, messages = next_claim(store)
    assert places(messages) == [(names[1], 0)]
    settle(store, claim)
    let_time_pass(store)
    assert places(next_claim(store)[1]) == [(names[0], 0)]
    delete(store, names[0], 0)
    expire(store)
    assert drain(store) == [(names[0], 1)]
