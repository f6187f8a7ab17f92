#!/usr/bin/python3
"""circles.py finds circles and upward calls, in objects that are compiled for it."""
import subprocess
import tempfile
import unittest
from pathlib import Path

import circles


def calls(function, called):
    return f"int {called}(void); int {function}(void) {{ return {called}(); }}\n"


def answers(function):
    return f"int {function}(void) {{ return 1; }}\n"


def compiled(sources):
    """What circles.py sees of files with these contents: {name: text}."""
    with tempfile.TemporaryDirectory() as folder:
        objects = {name: Path(folder) / (name.replace("/", "-") + ".o") for name in sources}
        for name, text in sources.items():
            subprocess.run(["cc", "-x", "c", "-c", "-o", objects[name], "-"], input=text, text=True, check=True)
        return circles.uses_of(objects)


class Circles(unittest.TestCase):
    def test_files_that_call_each_other_are_a_circle(self):
        uses = compiled({"a": calls("a", "b"), "b": calls("b", "c"), "c": calls("c", "a"), "d": calls("d", "a")})
        self.assertEqual(circles.circles_of(uses), [{"a", "b", "c"}])

    def test_files_that_call_one_way_are_none(self):
        uses = compiled({"a": calls("a", "b"), "b": calls("b", "c"), "c": answers("c"), "d": calls("d", "a")})
        self.assertEqual(circles.circles_of(uses), [])

    def test_a_table_is_used_as_a_function_is(self):
        uses = compiled({"a": "extern int table[]; int *a(void) { return table; }\n",
                         "b": "int *a(void); int table[3]; int *b(void) { return a(); }\n"})
        self.assertEqual(circles.circles_of(uses), [{"a", "b"}])

    def test_rooms_may_be_in_a_circle_when_their_files_are_in_none(self):
        uses = compiled({"db/a": calls("a", "b"), "base/b": answers("b"),
                         "base/c": calls("c", "d"), "db/d": answers("d")})
        self.assertEqual(circles.circles_of(uses), [])
        self.assertEqual(circles.circles_of(circles.between_rooms(uses)), [{"base", "db"}])

    def test_an_upward_call_is_found_without_an_include(self):
        uses = compiled({"base/c": calls("c", "d"), "db/d": answers("d"), "http/e": calls("e", "c")})
        self.assertEqual(list(circles.upward_uses("sidecar", uses)),
                         ["sidecar/base/c.c uses d of db/d.c, which base may not"])

    def test_what_has_become_smaller_must_be_said(self):
        self.assertEqual(list(circles.wrong_circles([frozenset("ab")], ["a b"], "files")), [])
        self.assertEqual(len(list(circles.wrong_circles([], ["a b"], "files"))), 1)
        self.assertEqual(len(list(circles.wrong_circles([frozenset("ab")], ["a b c"], "files"))), 2)
        self.assertEqual(len(list(circles.wrong_circles([frozenset("abc")], ["a b"], "files"))), 2)


if __name__ == "__main__":
    unittest.main()
