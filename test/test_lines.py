#!/usr/bin/python3
"""lines.py finds what it is there to find, in files made for it."""
import tempfile
import unittest
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import lines


class Lines(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.root = Path(temp.name)

    def faults(self, name, text):
        """What is printed of a repository that has that file only, without the file's name."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        with redirect_stdout(StringIO()) as printed:
            code = lines.main(self.root)
        path.unlink()
        found = printed.getvalue().splitlines()
        self.assertEqual(code, 1 if found else 0)
        self.assertTrue(all(line.startswith(f"{name}:") for line in found), found)
        return [line[len(name) + 1:] for line in found]

    def assert_fault(self, name, text, number, words):
        found = self.faults(name, text)
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(f"{number}:") and words in found[0], found)

    def assert_right(self, name, text):
        self.assertEqual(self.faults(name, text), [])

    def test_nothing_is_wrong_with_the_sources_as_they_are(self):
        self.assertEqual(lines.main(lines.ROOT), 0)

    def test_a_line_may_be_as_wide_as_its_kind_allows(self):
        for name, width in (("a/a.c", 110), ("a.h", 110), ("a.sh", 110), (".ci/run", 110), ("a/Makefile", 110),
                            ("a.py", 120)):
            with self.subTest(name):
                self.assert_right(name, "\n" + "x" * width + "\n")
                self.assert_fault(name, "\n" + "x" * (width + 1) + "\n", 2, f"{width + 1} columns")

    def test_a_tab_counts_as_four(self):
        self.assert_right("a.c", "\t\t" + "x" * 102 + "\n")
        self.assert_fault("a.c", "\t\t" + "x" * 103 + "\n", 1, "111 columns")

    def test_sql_within_python_is_counted(self):
        self.assert_fault("a.py", 'SQL = """\nSELECT ' + "x" * 120 + '\n"""\n', 2, "127 columns")

    def test_a_paragraph_is_unbroken_or_broken_within_the_width(self):
        long, short = "word " * 30, "word " * 20
        self.assert_right("a.md", f"# Head\n\n{long}\n\n- {long}\n- {long}\n\n{short}\n{short}\n")
        self.assert_fault("a.md", f"{short}\n{long}\n", 2, "150 columns")
        self.assert_fault("a.md", f"{long}\n{short}\n", 1, "150 columns")
        self.assert_fault("a.md", f"- {short}\n- {short}\n  {long}\n", 3, "152 columns")

    def test_tables_code_and_targets_of_links_are_free(self):
        long = "word " * 30
        self.assert_right("a.md", f"text\n\n| {long} |\n| {long} |\n")
        self.assert_right("a.md", f"```\n{long}\n{long}\n```\n\n    {long}\n    {long}\n")
        self.assert_right("a.md", f"text\n[page](https://example.com/{'x' * 120})\n")

    def test_what_follows_code_is_a_paragraph_again(self):
        long = "word " * 30
        self.assert_fault("a.md", f"```\n{long}\n```\n{long}\ntext\n", 4, "150 columns")

    def test_a_long_file_says_why_in_its_head(self):
        body = "int a;\n" * 499
        self.assert_right("a.c", "/* A head. */\n" + body)
        self.assert_fault("a.c", "/* A head. */\n\n" + body, 501, "501 lines")
        self.assert_right("a.c", "/*\n * A head.\n * Over 500 lines: one table.\n */\n" + body)
        self.assert_fault("a.c", "/*\n * A head.\n * Over 500 lines:\n */\n" + body, 503, "503 lines")
        self.assert_fault("a.c", "/* A head. */\n" + body + "/* Over 500 lines: too late. */\n", 501, "501 lines")
        self.assert_right("a.py", '"""A head.\n\nOver 500 lines: one table.\n"""\n' + "a = 1\n" * 500)
        self.assert_fault("a.py", '"""A head."""\n' + "a = 1\n" * 500, 501, "501 lines")

    def test_a_function_has_fifty_lines_from_brace_to_brace(self):
        self.assert_right("a.c", "int a[] =\n{\n" + "\t1,\n" * 60 + "};\n\nint f(void)\n{\n" + "\t;\n" * 48 + "}\n")
        self.assert_fault("a.c", "int f(void)\n{\n" + "\t;\n" * 49 + "}\n", 2, "a function of 51 lines")


if __name__ == "__main__":
    unittest.main()
