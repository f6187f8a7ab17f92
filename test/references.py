#!/usr/bin/python3
"""What comments and documents refer to is in the repository: pages, files, and what the two MAP.md name.

In a MAP.md, what stands in backticks is checked: `file.c:name` is a function of that file, `name()` one of the map's
folder, `struct name` a struct, a word with a slash or an ending a file or folder, any other name a word of the sources.
The last column of its tables lists files without their endings, in the folder that the first column names; every file
is in one of them.

Prints what is wrong; exit code 1 if anything is.  `references.py FOLDER` looks at the sources in another folder.
"""
import os
import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAP = "MAP.md"
MAPPED = ["sidecar", "extension"]
NOT_OURS = re.compile(r"\.git|build.*|__pycache__|corpus|millrace-data|\..*_cache")  # folders
MADE_UP = ("test_references.py", "test_lines.py")  # names there are
# A page, a file of C, a file of ours by its path; no part of a URL.
PAGE = re.compile(r"(?<![\w./:-])[\w./-]*\w\.md\b")
SOURCE = re.compile(r"(?<![\w./:-])[\w./-]*\w\.[ch]\b")
POSTGRES = {"execReplication.c", "numeric.c", "utils/jsonb.h"}  # files of PostgreSQL that our comments name
FILE = re.compile(r"(?<![\w./:-])(?:sidecar|extension|test|bench|sql|findings)/[\w./-]+\.(?:c|h|py|sh|sql|spec)\b")
ENDINGS = r"\.(?:c|h|py|sh|sql|md|control|so)"


def texts(root):
    """Every text file, as its path and its text."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not NOT_OURS.fullmatch(name))
        for name in sorted(names):
            path = Path(folder) / name
            try:
                if name != ".git" and path.is_file():
                    yield path, path.read_text()
            except UnicodeDecodeError:
                continue


def comments_of(text):
    """The comments of a C file alone, line by line where they are."""
    return re.sub(r"/\*.*?\*/|[^\n]", lambda part: part[0] if part[0].startswith("/*") else " ", text, flags=re.S)


def named_in(path, text):
    """The pages and the files that a line names.  Tests in Python make up files, so there only pages count."""
    named = set(PAGE.findall(text))
    if path.suffix in (".c", ".h"):
        return named | set(SOURCE.findall(text)) - POSTGRES
    return named | set(FILE.findall(text)) if path.suffix != ".py" else named


def lost_references(root):
    """A file may be named without its folder, or with the last ones."""
    found = list(texts(root))
    ends = {"/".join(path.relative_to(root).parts[-depth:]) for path, text in found for depth in range(1, 6)}
    for path, text in found:
        if path.name in MADE_UP:
            continue
        for number, line in enumerate((comments_of(text) if path.suffix in (".c", ".h") else text).splitlines(), 1):
            for name in sorted(named_in(path, line)):
                if name not in ends and not (path.parent / name).exists():
                    yield f"{path.relative_to(root)}:{number} refers to {name}, which is not in the repository"


# ---- maps ------------------------------------------------------------------------------------------------------------


def defines(text, name):
    """Whether a C file has the body of that function."""
    return re.search(rf"^(?:[A-Za-z_][\w \t*]*[ \t*])?{name}\([^;{{]*\)\n\{{", text, re.M) is not None


class Sources:
    """The C files of a map's folder, by their path from there."""

    def __init__(self, folder):
        self.folder = folder
        self.texts = {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.[ch]"))
                      if not any(NOT_OURS.fullmatch(part) for part in path.relative_to(folder).parts)}
        self.all = "\n".join(self.texts.values())

    def lacks(self, name):
        """What is wrong with a name in backticks; None: nothing."""
        if found := re.fullmatch(r"([\w./]+\.c):(\w+)", name):
            return None if defines(self.texts.get(found[1], ""), found[2]) else "no such function in that file"
        if found := re.fullmatch(r"(\w+)\(\)", name):
            return None if any(defines(text, found[1]) for text in self.texts.values()) else "no such function"
        if found := re.fullmatch(r"struct (\w+)", name):
            return None if re.search(rf"^struct {found[1]}\n\{{", self.all, re.M) else "no such struct"
        if re.fullmatch(rf"[\w.-]+/[\w./-]*|[\w-]+{ENDINGS}", name):
            here = (self.folder / name).exists() or (self.folder.parent / name).exists()
            return None if here or any(file.endswith("/" + name) for file in self.texts) else "no such file"
        if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+|([A-Z][a-z0-9]+){2,}|[A-Z]+(_[A-Z]+)+", name):
            return None if re.search(rf"\b{name}\b", self.all) else "no such name"
        return None

    def stems(self):
        return {re.sub(r"\.[ch]$", "", name) for name in self.texts}


def rows(text):
    """The tables' rows but for their heads: the first cell and the names in the last one."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| `") else []
        if len(cells) > 1:
            yield cells[0].strip("`"), re.findall(r"`([^`]+)`", cells[-1])


def wrong_names(folder):
    name, sources = f"{folder.name}/{MAP}", Sources(folder)
    text = (folder / MAP).read_text()
    listed = []
    for place, patterns in rows(text):
        prefix = place if place.endswith("/") else ""
        for pattern in patterns:
            listed.append(prefix + pattern)
            if not any(fnmatchcase(stem, prefix + pattern) for stem in sources.stems()):
                yield f"{name} names {prefix + pattern}, of which there is no file"
    for stem in sorted(sources.stems()):
        if not any(fnmatchcase(stem, pattern) for pattern in listed):
            yield f"{name} does not name {folder.name}/{stem}"
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("| `"))
    for word in sorted(set(re.findall(r"`([^`]+)`", prose))):
        if problem := sources.lacks(word):
            yield f"{name} names {word}: {problem}"


def main(root):
    faults = [*lost_references(root), *(fault for part in MAPPED for fault in wrong_names(root / part))]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT))
