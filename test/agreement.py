#!/usr/bin/python3
"""What the extension and the program have to agree on is said once, in extension/protocol.h.

Checks that no other C file repeats a limit, a SQLSTATE or the version of a frame, and that SQL and the documents,
which have to, repeat them as they are, and so some limits of the program; that both have one place for hexadecimal
digits, extension/hex.h, and the program none for MD5; and that the program includes these two headers of the
extension and no other.  Prints what is wrong; exit code 1 if anything is.
"""
import re
import sys
from pathlib import Path

from layers import SHARED

ROOT = Path(__file__).resolve().parent.parent
PROTOCOL = ROOT / "extension" / "protocol.h"
PLAIN_C = ["<stddef.h>", "<stdint.h>"]

# Where a number of protocol.h must not stand: the name or the text beside it says that the limit is meant.
LIMIT_PLACES = [
    (r"#\s*define\s+\w*(?:NAME|TYPE|STREAM|NAMESPACE|BATCH_SIZE|ROWS|PER_SECOND)\w*\s+(?:U?INT64_C\()?(\d+)\b",
     "defines"),
    (r"\b(?:\w*len|\w*LEN|(?:strlen|\w*EXHDR)\(\w+\)|n?(?:streams|types|rows|parts)|count)\)?"
     r"\s*[<>=!]=?\s*(\d+)\b(?! \?)", "compares with"),
    (r"\bArgInt64\([^()]*, (\d+)\)", "has the default"),
    (r"\bargs_(?:name|integer)\([^;]*?, (?:-?\d+, )?(\d+)(?:, &|\))", "has the bound"),
]
OFTEN = {"500", "10000"}  # other limits have these numbers, too
LIMIT_IN_TEXT = r"(?<![\w.,])(\d+)(?= (?:bytes|streams|types|rows)\b)"

VERSION_PLACES = [r"#\s*define\s+\w*(?:BATCH|VERDICTS?|IMPORT|FRAME)\w*VERSION\w*\s+\d", r"\bFrameOpen\([^;]*, \d+\)",
                  r"\b(?:buf_add_u8|pq_sendint8)\([^;{]*, [1-9]\d*\)", r"\bheader\[0\] = \d", r"\b0x[Ff]{8}\b"]

# Digits are read and written in hex.h only.
HEX = r"""("0123456789abcdef|- 'a' \+ 10|'%02x'|"%02x")"""
MD5 = r"\bMD5\b|\bEVP_md5\b"

# What SQL and the documents repeat: the text, with the limit's digits as its group.
REPEATED = {
    "extension/millrace--0.2.0.sql": [
        (r"octet_length\(name\) > (\d+)", "MAX_NAMESPACE_NAME"),
        (r"namespace is too long: % bytes, at most (\d+)", "MAX_NAMESPACE_NAME"),
        (r"\bbatch_size bigint DEFAULT (\d+)", "DEFAULT_BATCH_SIZE"),
        (r"\bmax_rows bigint DEFAULT (?!\d{5})(\d+)", "DEFAULT_MAX_ROWS"),
        (r"\bmax_rows bigint DEFAULT (\d{5})", "MAX_REMOVED"),
        (r"\bscan_limit bigint DEFAULT (\d+)", "DEFAULT_SCAN_LIMIT"),
        (r"IF requests_per_second NOT BETWEEN 1 AND (\d+)", "MAX_REQUESTS_PER_SECOND"),
        (r"IF bytes_per_second NOT BETWEEN 1 AND (\d+)", "MAX_BYTES_PER_SECOND"),
        (r"IF name = '(\w+)' THEN", "DEFAULT_NAMESPACE"),
        (r"the name of a token is too long: % bytes, at most (\d+)", "MAX_TOKEN_NAME"),
        (r"has (\d+) tokens already", "MAX_TOKENS"),
        (r"count\(\*\) >= (\d+) FROM millrace.tokens", "MAX_TOKENS"),
    ],
    "extension/millrace--0.1.0--0.2.0.sql": [
        (r"\bbatch_size bigint DEFAULT (\d+)", "DEFAULT_BATCH_SIZE"),
        (r"\bmax_rows bigint DEFAULT (?!\d{5})(\d+)", "DEFAULT_MAX_ROWS"),
        (r"\bmax_rows bigint DEFAULT (\d{5})", "MAX_REMOVED"),
        (r"\bscan_limit bigint DEFAULT (\d+)", "DEFAULT_SCAN_LIMIT"),
        (r"IF requests_per_second NOT BETWEEN 1 AND (\d+)", "MAX_REQUESTS_PER_SECOND"),
        (r"IF bytes_per_second NOT BETWEEN 1 AND (\d+)", "MAX_BYTES_PER_SECOND"),
    ],
    "extension/README.md": [
        (r"stream name or type over (\d+) bytes", "MAX_NAME"),
        (r"bytes, namespace over (\d+)", "MAX_NAMESPACE_NAME"),
        (r"more than (\d+) streams in one call", "MAX_STREAMS"),
        (r"name of a token over (\d+)", "MAX_TOKEN_NAME"),
        (r"at most (\d+) tokens", "MAX_TOKENS"),
        (r"a message has (\d+) tags at most", "MAX_ROW_TAGS"),
        (r"more than (\d+) tags of a message", "MAX_ROW_TAGS"),
        (r"At most (\d+) items in a query", "MAX_QUERY_ITEMS"),
        (r"items in a query, (\d+) types", "MAX_QUERY_TYPES"),
        (r"types and (\d+) tags in an item", "MAX_QUERY_TAGS"),
        (r"in an item, and (\d+) look-ups", "MAX_QUERY_LOOKUPS"),
        (r"consumer or member over (\d+)", "MAX_CONSUMER_NAME"),
        (r"\bscan_limit bigint = (\d+)", "DEFAULT_SCAN_LIMIT"),
        (r"are looked at, whether found or not, by default (\d+)", "DEFAULT_SCAN_LIMIT"),
        (r"\| consumers in a namespace \| ([\d,]+) ", "MAX_CONSUMERS"),
        (r"\| name of a consumer, of a member \| (\d+) bytes", "MAX_CONSUMER_NAME"),
        (r"\| `max` \| 1 to ([\d,]+) ", "MAX_CLAIM_MESSAGES"),
        (r"\bmax integer = (\d+)", "DEFAULT_CLAIM_MESSAGES"),
        (r"\| `max_bytes` \| 1 to ([\d,]+),", "MAX_CLAIM_BYTES"),
        (r"\bmax_bytes integer = (\d+)", "DEFAULT_CLAIM_BYTES"),
        (r"\| text of an error \| ([\d,]+) bytes", "MAX_ERROR_TEXT"),
        (r"\| streams that wait \| ([\d,]+);", "MAX_WAITING_STREAMS"),
        (r"\bbatch_size bigint = (\d+)", "DEFAULT_BATCH_SIZE"),
        (r"\bmax_rows bigint = (?!\d{5})(\d+)", "DEFAULT_MAX_ROWS"),
        (r"\bmax_rows bigint = (\d{5})", "MAX_REMOVED"),
        (r"u8 version \((\d+), \d+ or \d+\)", "BATCH_VERSION"),
        (r"u8 version \(\d+, (\d+) or \d+\)", "BATCH_VERSION_NEW_IDS"),
        (r"u8 version \(\d+, \d+ or (\d+)\)", "BATCH_VERSION_WAIT"),
        (r"verdicts +=.* u8 version \((\d+)\)", "VERDICTS_VERSION"),
    ],
    "sidecar/README.md": [
        (r"\| name of a stream, type \| 1 to (\d+) bytes", "MAX_NAME"),
        (r"\| name of a namespace \| 1 to (\d+) bytes", "MAX_NAMESPACE_NAME"),
        (r"\| types in one filter \| (\d+) ", "MAX_TYPES"),
        (r"\| name of a token \| 1 to (\d+) bytes", "MAX_TOKEN_NAME"),
        (r"\| tokens of a namespace \| (\d+) beside", "MAX_TOKENS"),
        (r"\| name of a consumer, of a member \| 1 to (\d+) bytes", "MAX_CONSUMER_NAME"),
        (r"\| consumers in a namespace \| (\d+) ", "MAX_CONSUMERS"),
        (r"\| messages in one claim, [a-z ]*\| (\d+), and", "MAX_CLAIM_MESSAGES"),
        (r"\| messages in one claim, [a-z ]*\| \d+, and ([\d,]+) bytes", "MAX_CLAIM_BYTES"),
        (r"\| a lease \| (\d+) to", "MIN_LEASE_MS"),
        (r"\| a lease \| \d+ to ([\d,]+) ms", "MAX_LEASE_MS"),
        (r"\| `leaseMs` \| (\d+) \|", "DEFAULT_LEASE_MS"),
        (r"\| `max` \| (\d+) \| 1 to", "DEFAULT_CLAIM_MESSAGES"),
        (r"\| `max` \| \d+ \| 1 to (\d+) ", "MAX_CLAIM_MESSAGES"),
        (r"\| `maxBytes` \| (\d+) \| 1 to", "DEFAULT_CLAIM_BYTES"),
        (r"\| `maxBytes` \| \d+ \| 1 to (\d+);", "MAX_CLAIM_BYTES"),
        (r"\| `waitMs` \| ([\d,]+) \|\n", "MAX_WAIT_MS"),
        (r"\| `waitMs` \| \d+ \| 0 to (\d+):", "MAX_WAIT_MS"),
        (r"\| `waitMs` \| (\d+) \| 0 to", "DEFAULT_WAIT_MS"),
        (r"\| streams in one `streams.append` \| (\d+) ", "MAX_STREAMS"),
        (r"\| `batchSize` \| (\d+) \| 0 to", "DEFAULT_BATCH_SIZE"),
        (r"\| `limit` \| (?!\d{5})(\d+) \|", "DEFAULT_MAX_ROWS"),
        (r"\| `limit` \| (\d{5}) \|", "MAX_REMOVED"),
        (r"messages of this call, at most (\d+)", "MAX_REMOVED"),
        (r"\| `limit` \| \d+ \| 1 to (\d+) \|", "MAX_ROWS"),
        (r"\| `batchSize` \| \d+ \| 0 to (\d+) ", "MAX_BATCH_SIZE"),
        (r"\| `batchSize` \| (\d+), or -1 ", "MAX_BATCH_SIZE"),
        (r"\| calls in one JSON-RPC batch \| ([\d,]*\d),", "MAX_BATCH_CALLS"),
        (r"connections for reads, a worker \((\d+) more are for ", "DB_OTHER_CONNECTIONS"),
        (r"`workers \* \(read-connections \+ (\d+)\)`", "DB_OTHER_CONNECTIONS"),
    ],
}

# Limits that are the program's alone, each with the file that defines it.
OF_THE_PROGRAM = {
    "DB_OTHER_CONNECTIONS": "sidecar/db/db.h",
    "MAX_BATCH_CALLS": "sidecar/rpc/batch.c",
    "MAX_BATCH_SIZE": "sidecar/methods/read.c",
    "DEFAULT_WAIT_MS": "sidecar/methods/consumer.c",
    "MAX_WAIT_MS": "sidecar/methods/consumer.c",
}


def definitions(path=PROTOCOL):
    """What a file, protocol.h, defines: numbers and texts, by name, as they are written."""
    found = re.findall(r'^#define (\w+) (?:INT64_C\()?("[^"]*"|\d+)', path.read_text(), re.M)
    return {name: value.strip('"') for name, value in found}


def code_of(text, strings):
    """Without comments, and with or without what is in strings."""
    def keep(found):
        return (found[1] if strings else '""') if found[1] else re.sub(r"[^\n]", "", found[0])
    return re.sub(r'/\*.*?\*/|("(?:\\.|[^"\\\n])*")', keep, text, flags=re.S)


def c_files():
    for folder in "extension", "sidecar":
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            if path != PROTOCOL and not path.relative_to(ROOT / folder).parts[0].startswith("build"):
                yield path


def matches(pattern, text):
    for found in re.finditer(pattern, text):
        yield text.count("\n", 0, found.start()) + 1, next((group for group in found.groups() if group), found[0])


def repeated_limits(text, limits):
    for pattern, verb in LIMIT_PLACES:
        for line, number in matches(pattern, code_of(text, strings=False)):
            if number in limits:
                yield line, f"{verb} {number}"
    for line, literal in matches(r'("(?:\\.|[^"\\\n])*")', code_of(text, strings=True)):
        for number in re.findall(LIMIT_IN_TEXT, literal):
            if number in limits:
                yield line, f"says {number} in a text"


def repeated_sqlstates(text, states):
    code = code_of(text, strings=True)
    for line, literal in matches(r'("(?:\\.|[^"\\\n])*")', code):
        content = literal[1:-1]
        looks_like_one = re.fullmatch(r"\d[0-9A-Z]{2}\d\d|XX\d{3}", content) and not content.isdigit()
        if content in states or looks_like_one or re.search(r"\bMR\d{3}\b", content):
            yield line, f"writes the SQLSTATE {content}"
    for line, _ in matches(r"""MAKE_SQLSTATE\('|\bsqlstate\b[^;{]*, "[0-9A-Z]{2,4}\"""", code):
        yield line, "writes a SQLSTATE"


def repeated_versions(text):
    for pattern in VERSION_PLACES:
        for line, found in matches(pattern, code_of(text, strings=False)):
            yield line, f"has the version or the mark of a frame: {found}"


def wrong_includes(path, text):
    """Of the extension's headers the program has those that both share."""
    if "sidecar" in path.parts:
        for line, name in matches(r'#\s*include\s+"(?:\.\./)*extension/([^"]+)"', text):
            if name not in SHARED:
                yield line, f"includes extension/{name}"


def not_plain(text):
    """What a header that both include may not: it would be missing on one side."""
    return [name for line, name in matches(r"#\s*include\s+(\S+)", text) if name not in PLAIN_C]


def repeated_elsewhere(path, text):
    code = code_of(text, strings=True)
    if path.name != "hex.h":
        for line, found in matches(HEX, code):
            yield line, f"has {found}, which belongs into hex.h"
    if "sidecar" in path.parts:
        for line, found in matches(MD5, code):
            yield line, f"has {found}, which belongs into the extension"


def faults_of(path, defined):
    text = path.read_text()
    numbers = {value for name, value in defined.items() if not name.startswith("SQLSTATE") and value.isdigit()}
    limits = {number for number in numbers if int(number) >= 100} - OFTEN
    states = {value for name, value in defined.items() if name.startswith("SQLSTATE") and len(value) == 5}
    yield from repeated_limits(text, limits)
    yield from repeated_sqlstates(text, states)
    yield from repeated_versions(text)
    yield from wrong_includes(path, text)
    yield from repeated_elsewhere(path, text)
    if path.name not in ("protocol.h", "version.h"):
        for line, _ in matches(r'"default"', code_of(text, strings=True)):
            yield line, "names the default namespace"


def wrong_repetitions(defined):
    defined = defined | {name: definitions(ROOT / place)[name] for name, place in OF_THE_PROGRAM.items()}
    for name, places in REPEATED.items():
        text = (ROOT / name).read_text()
        for pattern, limit in places:
            found = list(matches(pattern, text))
            if not found:
                yield f"{name} does not say {limit} any more, or says it in other words: {pattern}"
            for line, value in found:
                if value.replace(",", "") != defined[limit]:
                    place = OF_THE_PROGRAM.get(limit, "protocol.h")
                    yield f"{name}:{line} says {value} where {place} has {limit} {defined[limit]}"


def wrong_sqlstates(defined):
    """Those of SQL and the documents are Millrace's, and users can look up each."""
    ours = {value for value in defined.values() if re.fullmatch(r"MR\d{3}", value)}
    for name in [*REPEATED, "extension/millrace--0.1.0.sql"]:
        for line, state in matches(r"\bMR\d{3}\b", (ROOT / name).read_text()):
            if state not in ours:
                yield f"{name}:{line} names {state}, which protocol.h does not have"
    listed = set(re.findall(r"^\| (MR\d{3}) \|", (ROOT / "extension" / "README.md").read_text(), re.M))
    for state in sorted(ours ^ listed):
        yield f"{state} is in one of protocol.h and the table of extension/README.md, and not in the other"


def main():
    defined = definitions()
    faults = [f"{path.relative_to(ROOT)}:{line} {fault}"
              for path in c_files() for line, fault in faults_of(path, defined)]
    faults += [f"extension/{header} includes {name}"
               for header in SHARED for name in not_plain((ROOT / "extension" / header).read_text())]
    faults += wrong_repetitions(defined)
    faults += wrong_sqlstates(defined)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
