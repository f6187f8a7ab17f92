"""A condition in a batch is read from its text where it is plainly right, one by SQL from jsonb: it is the same.

Thousands of texts, right and with a byte changed, are tried both ways, and the two outcomes compared: each query
finds another message first, so what was read of it shows.
"""
import json
import random

import pytest

from store import sql
from test_conditions import append_batch, request, tagged, unless

TEXTS = 1200
TAGS = ["a", "b", "c", "ä€\U0001F600", 'say "no"', "tab\t", "x" * 2000]
TYPES = ["T", "U", "tags"]
BLANKS = ["", "", "", "", " ", "\n", "\t\r\n "]
AFTER = [
    "0", "1", "7", "20", "999", "-0", "-1", "00", "01", "1.0", "1e0", "1.5", "2E1", "+1", "", "null", '"1"', "true",
    "0x1", "1" * 18, "1" * 19, str(2**63 - 1), str(2**63), "1" * 100
]
NAMES = ['"' + name + '"' for name in ["tags", "types", "items", "failIfEventsMatch", "after", "all", "stream", ""]]
BYTES = '{}[]",:\\/u0-+.eatf \n\t\x01\x7fé'

COMPARE = """
CREATE FUNCTION pg_temp.str(s text) RETURNS bytea LANGUAGE sql AS $$
    SELECT int4send(octet_length(s)) || convert_to(s, 'UTF8') || '\\x00'::bytea $$;
CREATE FUNCTION pg_temp.compare(condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    frame bytea := '\\x01'::bytea || int4send(1) || pg_temp.str('default') || '\\x80000001'::bytea
                   || pg_temp.str(condition) || pg_temp.str('s-1') || int8send(-9223372036854775808) || int4send(1)
                   || uuid_send(gen_random_uuid()) || pg_temp.str('T') || pg_temp.str('{}') || '\\xffffffff'::bytea;
    in_batch text;
    by_sql text;
BEGIN
    BEGIN
        SELECT sqlstate || coalesce(regexp_replace(message, '^condition: ', ''), '') INTO in_batch
            FROM millrace.append_batch(frame);
        RAISE 'undo it' USING ERRCODE = 'UNDOO';
    EXCEPTION WHEN SQLSTATE 'UNDOO' THEN NULL;
    END;
    BEGIN
        PERFORM millrace.append('s-1', 'T', '{}', condition => compare.condition::jsonb);
        by_sql := '00000';
        RAISE 'undo it' USING ERRCODE = 'UNDOO';
    EXCEPTION WHEN SQLSTATE 'UNDOO' THEN NULL; WHEN OTHERS THEN by_sql := SQLSTATE || SQLERRM;
    END;
    RETURN CASE WHEN in_batch = by_sql THEN left(by_sql, 5) ELSE format('%s instead of %s', in_batch, by_sql) END;
END $$;
"""


@pytest.fixture
def connection(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    return connection


@pytest.fixture
def compare(connection):
    sql(connection, "SELECT millrace.create_namespace('default')")
    sql(connection, "SELECT millrace.index_tags()")
    for type in TYPES:
        for n in range(3):
            tags = TAGS[n:] if type == "T" else TAGS[:n]
            sql(connection, "SELECT millrace.append('s', %s, '{}', %s)", type, json.dumps({"tags": tags}))
    sql(connection, COMPARE)
    return lambda texts: [
        row[0] for row in sql(
            connection, "SELECT pg_temp.compare(t) FROM unnest(%s::text[]) WITH ORDINALITY u(t, n) ORDER BY n", texts)
    ]


def join(dice, ends, parts):
    return ends[0] + ",".join(dice.choice(BLANKS) + part + dice.choice(BLANKS) for part in parts) + ends[1]


def member(dice, key, value):
    return f'"{key}"{dice.choice(BLANKS)}:{dice.choice(BLANKS)}{value}'


def names(dice, among):
    wanted = [dice.choice(among) for _ in range(dice.choice([1, 1, 1, 2, 3, 9]))]
    return join(dice, "[]", [json.dumps(name, ensure_ascii=dice.random() < 0.1) for name in wanted])


def item(dice):
    members = [member(dice, "tags", names(dice, TAGS)), member(dice, "types", names(dice, TYPES))]
    return join(dice, "{}", dice.choice([members, members[:1], members[:1], members[1:], members[::-1],
                                         [*members, member(dice, "tags", names(dice, TAGS))]]))


def condition(dice):
    items = join(dice, "[]", [item(dice) for _ in range(dice.choice([1, 1, 1, 2, 4, 5]))])
    members = [member(dice, "failIfEventsMatch", join(dice, "{}", [member(dice, "items", items)]))]
    if dice.random() < 0.7:
        members.append(member(dice, "after", dice.choice(AFTER[:4] if dice.random() < 0.8 else AFTER)))
    if dice.random() < 0.1:
        members.reverse()
    return dice.choice(BLANKS) + join(dice, "{}", members) + dice.choice(BLANKS)


def changed(dice, text):
    """With a name in another's place, or a byte replaced, taken out or put in, or cut off."""
    at = dice.randrange(len(text))
    kind = dice.randrange(5)
    if kind == 0:
        return text.replace(dice.choice(NAMES), dice.choice(NAMES), 1)
    if kind == 1:
        return text[:at] + dice.choice(BYTES) + text[at + 1:]
    if kind == 2:
        return text[:at] + text[at + 1:]
    if kind == 3:
        return text[:at] + dice.choice(BYTES) + text[at:]
    return text[:at]


def with_many(many, n):
    item = {"tags": ["none"]}
    item |= {many: [str(i) for i in range(n)]} if many != "items" else {}
    return json.dumps({"failIfEventsMatch": {"items": [item] * (n if many == "items" else 1)}})


def test_a_right_condition_is_read_as_from_jsonb(compare):
    dice = random.Random(1)
    outcomes = compare([condition(dice) for _ in range(TEXTS)])
    assert set(outcomes) <= {"00000", "MR019", "MR009", "22P02", "22023"}
    assert outcomes.count("MR019") > TEXTS / 4 and outcomes.count("00000") > TEXTS / 20


def test_a_changed_condition_is_refused_as_from_jsonb(compare):
    dice = random.Random(2)
    outcomes = compare([changed(dice, condition(dice)) for _ in range(TEXTS)])
    assert [outcome for outcome in outcomes if len(outcome) != 5] == []
    assert outcomes.count("22P02") > TEXTS / 4


@pytest.mark.parametrize("many", ["items", "tags", "types"])
def test_the_limits_are_the_same(compare, many):
    outcomes = compare([with_many(many, n) for n in range(1, 130)])
    assert [outcome for outcome in outcomes if len(outcome) != 5] == []
    assert outcomes[0] == "00000" and outcomes[-1] == "MR009"


@pytest.mark.parametrize("types", [True, False])
def test_the_index_has_what_a_batch_with_conditions_has_stored(connection, types):
    """The hashes of the index's entries are those that later conditions of the batch were looked up by."""
    sql(connection, "SELECT millrace.create_namespace('c')")
    sql(connection, "SELECT millrace.index_tags('c', types => %s)", types)
    tags = [("a", ), ("b", "c", "b"), (), ("a", "b"), ("d", )]
    states = [row[0] for row in append_batch(connection, *(
        request(f"s-{n}", *mine, condition=unless(tagged("a", "b", types=["T"])) if n % 2 else None)
        for n, mine in enumerate(tags)), request("t", "e", condition=unless(tagged("b", "a"))))]
    assert states == ["00000"] * 5 + ["MR019"]
    assert sql(connection, "SELECT * FROM millrace.check_tags('c')") == []
