"""The files of sidecar/GROWING.md, as they stand there."""
import os
import re
from pathlib import Path

from store import ROOT

GROWING = Path(os.environ.get("MILLRACE_GROWING", ROOT / "sidecar" / "GROWING.md"))


def documented(before):
    """The indented block behind the line that begins with `before`."""
    block = re.search(rf"^{re.escape(before)}(?s:.*?)\n\n((?: {{4}}.*\n|\n)+)", GROWING.read_text(), re.M)
    assert block, f"no block behind {before!r} in {GROWING}"
    return re.sub(r"^ {4}", "", block.group(1), flags=re.M)


def replaced(text, old, new):
    assert old in text, f"{old!r} is not in the block of {GROWING}:\n{text}"
    return text.replace(old, new)
