#!/usr/bin/python3
"""references.py finds what it is there to find, in a small repository made for it."""
import tempfile
import unittest
from pathlib import Path

import references

MAP = """
| room | is | its files |
|---|---|---|
| `base/` | bytes | `buf` that grow, `config*` settings |
| `main.c` | all else | `main` |

"""

BUF = """
struct buf
{
	int len;
};

static struct buf *
buf_new(void)
{
}

int buf_len(void)
{
}
"""


class References(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.root = Path(temp.name)
        self.write("README.md", "See sidecar/base/buf.c.\n")
        self.write("sidecar/main.c", "int main(int argc,\n         char **argv)\n{\n}\n")
        self.write("sidecar/base/buf.c", BUF)
        self.write("sidecar/base/config_help.c", "/* As buf.c, base/buf.c, README.md. */\nint buf_len(void);\n")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def assert_lost(self, name, text, lost):
        self.write(name, text)
        faults = list(references.lost_references(self.root))
        self.assertEqual(len(faults), 1, faults)
        self.assertTrue(faults[0].startswith(f"{name}:") and f" {lost}," in faults[0], faults)
        (self.root / name).unlink()

    def wrong_names(self, text):
        self.write("sidecar/MAP.md", MAP + text)
        return list(references.wrong_names(self.root / "sidecar"))

    def test_nothing_is_wrong_with_the_sources_as_they_are(self):
        self.assertEqual(references.main(references.ROOT), 0)

    def test_what_is_in_the_repository_may_be_named(self):
        self.assertEqual(list(references.lost_references(self.root)), [])

    def test_a_page_that_is_not_in_the_repository_is_found_wherever_it_is_named(self):
        for name, text in (("sidecar/a.h", "/*\n * See RULES.md.\n */\n"), ("a.md", "[rules](RULES.md#rules)\n"),
                           ("test/a.py", '"""The load of RULES.md: long."""\n'), ("Makefile", "a: ## RULES.md\n"),
                           (".clang-tidy", "# (RULES.md)\n")):
            with self.subTest(name):
                self.assert_lost(name, text, "RULES.md")
        self.assert_lost("a.md", "../shared/RULES.md\n", "../shared/RULES.md")

    def test_a_file_that_has_moved_is_found(self):
        self.assert_lost("sidecar/a.c", "/* see base_buf.c */\n", "base_buf.c")
        self.assert_lost("sidecar/a.c", "int a; /* see net/buf.c */\n", "net/buf.c")
        self.assert_lost("a.md", "`sidecar/buf.c` grows.\n", "sidecar/buf.c")

    def test_code_and_other_sites_are_none_of_it(self):
        self.write("sidecar/a.c", '#include <openssl/ssl.h>\nconst char *a = "base_buf.c"; /* numeric.c */\n')
        self.write("a.md", "https://example.com/RULES.md and [one](http://example.com/a/RULES.md)\n")
        self.assertEqual(list(references.lost_references(self.root)), [])

    def test_a_map_may_name_what_there_is(self):
        self.assertEqual(self.wrong_names("`main.c:main`, `base/buf.c:buf_new`, `buf_len()`, `struct buf`, `base/`, "
                                          "`base/buf.c`, `buf.c`, `buf_len`, `SIGTERM`, `--port`\n"), [])

    def test_a_map_names_nothing_else(self):
        for name in ("main.c:buf_len", "base/config_help.c:buf_len", "base/buf.c:buf", "base/buff.c:buf_new",
                     "buf_old()", "struct buff", "base/buff.c", "buff.c", "room/", "buf_old"):
            with self.subTest(name):
                faults = self.wrong_names(f"`{name}`\n")
                self.assertEqual(len(faults), 1, faults)
                self.assertIn(f"names {name}:", faults[0])

    def test_a_map_has_every_file_and_no_other(self):
        self.write("sidecar/base/new.h", "")
        self.assertEqual(self.wrong_names(""), ["sidecar/MAP.md does not name sidecar/base/new"])
        (self.root / "sidecar/base/new.h").unlink()
        (self.root / "sidecar/base/config_help.c").unlink()
        self.assertEqual(self.wrong_names(""), ["sidecar/MAP.md names base/config*, of which there is no file"])


if __name__ == "__main__":
    unittest.main()
