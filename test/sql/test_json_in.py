"""append_batch reads JSON by itself where it is plainly right: what it stores, and what it says, is what a cast to
jsonb would.

Thousands of objects, right and with a byte changed, are appended and cast in one call each, and the two outcomes
compared.
"""
import json
import random
import re
from pathlib import Path

import pytest

from store import sql

RIGHT, WRONG = 3000, 5000
STRINGS = [
    "", "a", "key", "x" * 15, "x" * 16, "x" * 17, "lorem ipsum dolor sit amet " * 9, "é", "日本語" * 7, "\U0001F600",
    'say "no"', "back\\slash", "/", "x\nx", "tab\tline\nfeed\r\f\b", "\u007f\u0080", "{not} [a] ,container:"
]
NUMBERS = [
    "0", "-0", "1", "-1", "42", "999999999999999999", "-999999999999999999", "1000000000000000000",
    "9223372036854775808", "1" * 40, "0.0", "-0.0", "1.50", "1e3", "1E+3", "1e-3", "-2.5e10", "1e300", "0e0",
    "123456789.123456789", "0.1", "-1234.56", "-0.00", "10000.0001", "0.00010000", "99999999999999999.9",
    "0.00000000000000001", "0.000000000000000001", "999999999999999999.9", "100000000000000.000", "12345.678e2",
    "123456789.123456789", "12345678901234.5678", "1234567890123456.789",
    *(f"{whole}.{'0' * before}{part}{'0' * behind}" for whole in ("0", "-0", "-7", "10000", "123456789")
      for part in ("5", "1234", "98765", "0") for before in range(4) for behind in range(5))
]
BAD_NUMBERS = [
    "01", "-", "+1", "1.", ".5", "1e", "1e+", "0x1", "NaN", "Infinity", "-Infinity", "1_000", "--1", "1e999999999",
    "00", "1e999999999x", "1e-999999", "1e999999;"
]
BAD_DOCUMENTS = [
    "", " ", "[]", "1", '"s"', "null", "{", "}", '{"a"}', "{}x", "{} {}", '{"a":1,}', '{"a":[1,]}', "{,}", '{"a":[,]}',
    '{"a":1 "b":2}', '{"a" 1}', '{"a":}', "{a:1}", "{'a':1}", '{"a":tru}', '{"a":nul', '{"a":truex}', '{"a":"b',
    '{"a":"\\q"}', '{"a":"\\u12"}', '{"a":"\\', '{"a":"\\"}'
]
BYTES = '{}[]",:\\/ue0-+.Etfn \n\t\r\x01\x0b\x1f\x7fé'

COMPARE = """
CREATE FUNCTION pg_temp.str(s text) RETURNS bytea LANGUAGE sql AS $$
    SELECT int4send(octet_length(s)) || convert_to(s, 'UTF8') || '\\x00'::bytea $$;
CREATE FUNCTION pg_temp.compare(source text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    frame bytea := '\\x01'::bytea || int4send(1) || pg_temp.str('default') || int4send(1) || pg_temp.str('s-1')
                   || int8send(-9223372036854775808) || int4send(1) || uuid_send(gen_random_uuid()) || pg_temp.str('T')
                   || pg_temp.str(source) || '\\xffffffff'::bytea;
    expected jsonb;
    stored jsonb;
    refused text;
    refused_by_cast text;
BEGIN
    BEGIN
        expected := source::jsonb;
        IF jsonb_typeof(expected) <> 'object' THEN refused_by_cast := 'MR008'; END IF;
    EXCEPTION WHEN OTHERS THEN refused_by_cast := SQLSTATE || SQLERRM;
    END;
    BEGIN
        PERFORM millrace.append_batch(frame);
    EXCEPTION WHEN OTHERS THEN refused := CASE WHEN SQLSTATE = 'MR008' THEN SQLSTATE ELSE SQLSTATE || SQLERRM END;
    END;
    IF refused IS DISTINCT FROM refused_by_cast THEN
        RETURN format('refused: %s instead of %s', refused, refused_by_cast);
    END IF;
    IF refused IS NOT NULL THEN
        RETURN 'refused';
    END IF;
    SELECT data INTO stored FROM millrace.last_message('s-1');
    IF record_image_eq(ROW(stored), ROW(expected)) AND stored = expected THEN
        RETURN 'stored';
    END IF;
    RETURN format('%s instead of %s', stored, expected);
END $$;
"""


def number(dice):
    if dice.random() < 0.5:
        return dice.choice(NUMBERS)
    digits = f"{dice.randrange(10 ** dice.randrange(1, 12))}.{dice.randrange(10 ** 9):09}"
    return dice.choice(["", "-"]) + digits[:len(digits) - dice.randrange(9)]


def string(dice):
    return json.dumps(dice.choice(STRINGS), ensure_ascii=dice.random() < 0.2)


def blank(dice):
    return dice.choice(["", "", "", " ", "\n\t", " \r\n  "])


def container(dice, depth, ends, item):
    items = [
        blank(dice) + item(dice, depth) + blank(dice)
        for _ in range(dice.choice([0, 1, 2, 3, 9, 40][:6 - depth] if depth < 4 else [0, 1]))
    ]
    return ends[0] + (",".join(items) or blank(dice)) + ends[1]


def member(dice, depth):
    key = string(dice) if dice.random() < 0.7 else f'"{dice.randrange(200)}"'
    return key + blank(dice) + ":" + blank(dice) + value(dice, depth + 1)


def value(dice, depth=1):
    kind = dice.randrange(8)
    if kind < 2 and depth < 8:
        return container(dice, depth, "[]", lambda dice, depth: value(dice, depth + 1)) if kind else container(
            dice, depth, "{}", member)
    return dice.choice([string(dice), number(dice), "true", "false", "null"])


def document(dice):
    return blank(dice) + container(dice, 0, "{}", member) + blank(dice)


def changed(dice, text):
    """With one byte replaced, taken out or put in, cut off, or with a number that is none."""
    at = dice.randrange(len(text))
    kind = dice.randrange(5)
    if kind == 0:
        return text[:at] + dice.choice(BYTES) + text[at + 1:]
    if kind == 1:
        return text[:at] + text[at + 1:]
    if kind == 2:
        return text[:at] + dice.choice(BYTES) + text[at:]
    if kind == 3:
        return text[:at]
    return '{"key": ' + dice.choice(BAD_NUMBERS) + blank(dice) + "}"


def deep(levels):
    return '{"a":' + "[" * levels + "]" * levels + "}"


@pytest.fixture
def connection(cluster):
    connection = cluster.connect()
    sql(connection, "CREATE EXTENSION millrace")
    sql(connection, "SELECT millrace.create_namespace('default')")
    return connection


@pytest.fixture
def compare(connection):
    sql(connection, COMPARE)
    return lambda texts: [
        row[0] for row in sql(
            connection, "SELECT pg_temp.compare(t) FROM unnest(%s::text[]) WITH ORDINALITY u(t, n) ORDER BY n", texts)
    ]


def test_objects_are_stored_as_a_cast_makes_them(compare):
    dice = random.Random(4711)
    texts = [document(dice) for _ in range(RIGHT)] + [f'{{"key": {number}}}'
                                                      for number in NUMBERS] + [deep(n) for n in (62, 63, 64, 65, 500)]
    wrong = [(text, found) for text, found in zip(texts, compare(texts)) if found != "stored"]
    assert wrong == []


def test_what_a_cast_refuses_is_refused_with_its_words(compare):
    dice = random.Random(4712)
    texts = [changed(dice, document(dice)) for _ in range(WRONG)] + BAD_DOCUMENTS + [deep(200000)]
    found = compare(texts)
    assert [(text, outcome) for text, outcome in zip(texts, found) if outcome not in ("stored", "refused")] == []
    assert found.count("refused") > WRONG / 3


def test_escapes_take_no_more_memory_than_the_text(compare, connection):
    status = Path(f"/proc/{sql(connection, 'SELECT pg_backend_pid()')[0][0]}/status")

    def peak():
        return int(re.search(r"VmPeak:\s+(\d+) kB", status.read_text()).group(1)) // 1024

    before = peak()
    assert compare([json.dumps({str(n): "line\n" for n in range(20000)})]) == ["stored"]
    assert peak() < before + 500
