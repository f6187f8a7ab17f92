#!/usr/bin/python3
"""Every file that names the version names the same, and PGXN takes META.json.

The rules for META.json are those of https://pgxn.org/spec: what must be there, and what form names, versions and
licences have. Prints what is wrong; exit code 1 if anything is.
"""
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Each file with the line that names the version first.
NAMED = {
    "sidecar/base/version.h": r'^#define MILLRACE_VERSION "(.*)"$',
    "extension/millrace.control": r"^default_version = '(.*)'$",
    "sidecar/packaging/debian/changelog": r"^millrace \((.*)\) ",
    "CHANGELOG.md": r"^## (\S+)",
}

SEMANTIC = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-?[A-Za-z][0-9A-Za-z-]*)?"
TERM = r"[^\s/\\\x00-\x1f]{2,}"
LICENCES = (
    "agpl_3 apache_1_1 apache_2_0 artistic_1 artistic_2 bsd freebsd gfdl_1_2 gfdl_1_3 gpl_1 gpl_2 gpl_3 "
    "lgpl_2_1 lgpl_3_0 mit mozilla_1_0 mozilla_1_1 openssl perl_5 postgresql qpl_1_0 ssleay sun zlib "
    "open_source restricted unrestricted unknown"
).split()
REQUIRED = ["name", "version", "abstract", "maintainer", "license", "provides", "meta-spec"]
OPTIONAL = ["description", "generated_by", "no_index", "prereqs", "release_status", "resources", "tags"]


def version_in(name, pattern):
    found = re.search(pattern, (ROOT / name).read_text(), re.M)
    return found.group(1) if found else "none"


def wrong_versions(version, meta):
    named = {name: version_in(name, pattern) for name, pattern in NAMED.items()}
    named["extension/META.json"] = meta.get("version")
    for extension, provided in meta.get("provides", {}).items():
        named[f"extension/META.json, provides {extension}"] = provided.get("version")
    for name, other in named.items():
        if other != version:
            yield f"{name} names version {other}, sidecar/base/version.h names {version}"
    if f"millrace--{version}.sql" not in (ROOT / "extension" / "Makefile").read_text():
        yield f"extension/Makefile does not install millrace--{version}.sql"


def texts(value):
    return isinstance(value, list) and value and all(isinstance(each, str) and each for each in value)


def wrong_members(meta):
    for key in REQUIRED:
        if not meta.get(key):
            yield f"{key} is missing"
    for key in meta:
        if key not in REQUIRED + OPTIONAL and not key.lower().startswith("x_"):
            yield f"{key} is none of the specification's, and does not begin with x_"
    for key in "abstract", "description", "generated_by":
        if not isinstance(meta.get(key, "none"), str):
            yield f"{key} is no text"


def wrong_values(meta):
    if not re.fullmatch(TERM, meta.get("name", "")):
        yield f"name is no term: {meta.get('name')}"
    if not re.fullmatch(SEMANTIC, meta.get("version", "")):
        yield f"version is not a semantic version: {meta.get('version')}"
    if meta.get("license") not in LICENCES:
        yield f"license is none that PGXN knows: {meta.get('license')}"
    if not (texts(meta.get("maintainer")) or isinstance(meta.get("maintainer"), str)):
        yield "maintainer is neither a name nor a list of names"
    if meta.get("release_status", "stable") not in ("stable", "testing", "unstable"):
        yield f"release_status is {meta['release_status']}"
    if not texts(meta.get("tags", ["none"])) or any(
            len(tag) > 255 or re.search(r"[/\\\x00-\x1f]", tag) for tag in meta.get("tags", [])):
        yield "tags are not a list of short names"
    if meta.get("meta-spec", {}).get("version") != "1.0.0":
        yield "meta-spec is not version 1.0.0"


def wrong_parts(meta):
    for extension, provided in meta.get("provides", {}).items():
        if not (ROOT / "extension" / f"{extension}.control").exists():
            yield f"provides {extension}, which has no control file"
        for key in "file", "docfile":
            if not (ROOT / provided.get(key, "nowhere")).exists():
                yield f"the {key} of {extension} does not exist: {provided.get(key)}"
    for phase, relations in meta.get("prereqs", {}).items():
        if phase not in ("configure", "build", "test", "runtime", "develop"):
            yield f"prereqs has a phase {phase}"
        for relation, wanted in relations.items():
            if relation not in ("requires", "recommends", "suggests", "conflicts"):
                yield f"prereqs has a relation {relation}"
            for name, version in wanted.items():
                if not re.fullmatch(SEMANTIC, str(version)) and version != 0:
                    yield f"prereqs wants {name} {version}, which is not a semantic version"


def main():
    meta = json.loads((ROOT / "extension" / "META.json").read_text())
    faults = list(wrong_versions(version_in("sidecar/base/version.h", NAMED["sidecar/base/version.h"]), meta))
    faults += [
        f"extension/META.json: {fault}" for part in (wrong_members, wrong_values, wrong_parts) for fault in part(meta)
    ]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
