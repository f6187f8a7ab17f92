#!/usr/bin/python3
"""layers.py finds what it is there to find: each test puts something wrong into a copy of the sources."""
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import agreement
import layers


class Layers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temp = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temp.cleanup)
        cls.sidecar, cls.extension = Path(temp.name) / "sidecar", Path(temp.name) / "extension"
        built = shutil.ignore_patterns("build*", "packaging", "millrace", "*.o", "*.so")
        for folder in cls.sidecar, cls.extension:
            shutil.copytree(layers.ROOT / folder.name, folder, ignore=built)

    def write(self, name, text, part="sidecar"):
        """Until the end of the test."""
        path = self.sidecar.parent / part / name
        before = path.read_text() if path.exists() else None
        self.addCleanup(path.unlink if before is None else lambda: path.write_text(before))
        path.write_text(text)

    def include(self, name, header):
        self.write(name, f'#include "{header}"\n' + (self.sidecar / name).read_text())

    def assert_found(self, *parts):
        """One fault, and it names these."""
        faults = list(layers.wrong_includes(self.sidecar))
        self.assertEqual(len(faults), 1, faults)
        for part in parts:
            self.assertIn(part, faults[0])

    def test_nothing_is_wrong_with_the_sources_as_they_are(self):
        for folder in self.sidecar, self.extension:
            self.assertEqual(list(layers.wrong_includes(folder)), [])

    def test_the_extension_has_rooms_too(self):
        for name, text, fault in (("store/lock.c", '#include "core/read.h"\n', "which store may not use"),
                                  ("core/read.c", '#include "api/api.h"\n', "which core may not use"),
                                  ("api/read.c", '#include "prefix.h"\n', "says the room"), ("new.c", "", "no room"),
                                  ("attic/old.c", "", "attic is no room")):
            with self.subTest(name):
                path = self.extension / name
                path.parent.mkdir(exist_ok=True)
                self.write(name, text + (path.read_text() if path.exists() else ""), "extension")
                faults = list(layers.wrong_includes(self.extension))
                self.assertEqual(len(faults), 1, faults)
                self.assertIn(fault, faults[0])
                self.doCleanups()

    def test_a_version_test_is_found_in_every_room(self):
        self.write("store/lock.c", "#if PG_VERSION_NUM >= 170000\n#endif\n", "extension")
        self.assertEqual(len(list(layers.version_tests_elsewhere(self.extension))), 1)

    def test_http_knows_not_what_it_serves(self):
        for header in "db/db.h", "methods/methods.h", "live/feed.h", "base/errors.h", "base/json.h":
            with self.subTest(header):
                self.include("http/reply.c", header)
                self.assert_found("http/reply.c", header, "may not use")
                self.doCleanups()

    def test_only_db_uses_libpq(self):
        for name in "methods/read.c", "live/feed.h", "cli/export.c", "main.c":
            with self.subTest(name):
                self.write(name, "#include <libpq-fe.h>\n" + (self.sidecar / name).read_text())
                self.assert_found(name, "libpq-fe.h", "may not use")
                self.doCleanups()

    def test_only_db_knows_how_a_statement_is_written(self):
        for header in "db/internal.h", "db/conn.h", "db/statement.h":
            with self.subTest(header):
                self.include("methods/read.c", header)
                self.assert_found("methods/read.c", header, "may not use")
                self.doCleanups()

    def test_rooms_beside_each_other_do_not_use_each_other(self):
        self.include("bulk/export.c", "live/feed.h")
        self.assert_found("bulk/export.c", "live/feed.h")

    def test_a_header_is_as_bound_as_a_file_of_code(self):
        self.include("base/buf.h", "net/tls.h")
        self.assert_found("base/buf.h", "net/tls.h")

    def test_what_is_allowed_of_one_header_is_not_of_its_room(self):
        self.include("cli/export.c", "http/http.h")
        self.assert_found("cli/export.c", "http/http.h")

    def test_both_include_what_they_share_and_the_program_nothing_else_of_the_extension(self):
        for header in "extension/protocol.h", "extension/hex.h":
            self.include("db/batch.c", header)
            self.assertEqual(list(layers.wrong_includes(self.sidecar)), [])
        self.include("db/batch.c", "extension/base/names.h")
        self.assert_found("db/batch.c", "extension/base/names.h")
        self.write("store/lock.c", '#include "hex.h"\n' + (self.extension / "store/lock.c").read_text(), "extension")
        self.write("other.h", "", "extension")
        self.assertEqual(list(layers.wrong_includes(self.extension)), ["extension/other.h is in no room"])

    def test_what_they_share_is_agreed_on(self):
        path = Path("sidecar/db/batch.c")
        for header, faults in ("protocol.h", 0), ("hex.h", 0), ("base/names.h", 1), ("millrace.h", 1):
            with self.subTest(header):
                found = agreement.wrong_includes(path, f'#include "extension/{header}"\n')
                self.assertEqual(len(list(found)), faults)

    def test_what_they_share_is_plain_c(self):
        self.assertEqual(agreement.not_plain("#include <stddef.h>\n#include <stdint.h>\n"), [])
        for header in '"postgres.h"', '"base/buf.h"', "<openssl/ssl.h>":
            self.assertEqual(agreement.not_plain(f"#include {header}\n"), [header])

    def test_digits_are_read_and_written_in_one_place(self):
        for code in "return c - 'a' + 10;", 'printf("%02x", byte);', 'digits = "0123456789abcdef";':
            for name in "extension/json/in.c", "sidecar/base/uuid.c":
                with self.subTest(code, name=name):
                    self.assertEqual(len(list(agreement.repeated_elsewhere(Path(name), code))), 1)
            self.assertEqual(list(agreement.repeated_elsewhere(Path("extension/hex.h"), code)), [])

    def test_main_may_include_everything(self):
        self.include("main.c", "http/http.h")
        self.assertEqual(list(layers.wrong_includes(self.sidecar)), [])

    def test_an_include_says_the_room(self):
        self.include("base/json.c", "buf.h")
        self.assert_found("base/json.c", '"buf.h"', "says the room")

    def test_a_file_is_in_a_room(self):
        self.write("new.c", "")
        self.assert_found("sidecar/new.c", "no room")

    def test_a_folder_is_a_room(self):
        (self.sidecar / "attic").mkdir()
        self.addCleanup((self.sidecar / "attic").rmdir)
        self.write("attic/old.c", "")
        self.assert_found("sidecar/attic", "no room")

    def test_what_is_owed_is_let_through_as_long_as_it_is_there(self):
        pair = ("base/buf.c", "net/tls.h")
        with mock.patch.dict(layers.OWED, {pair: "a test"}):
            self.assert_found("base/buf.c", "net/tls.h", "take it out of OWED")
            self.include(*pair)
            self.assertEqual(list(layers.wrong_includes(self.sidecar)), [])

    def test_what_is_allowed_is_not_owed(self):
        pair = ("net/tls.c", "base/uuid.h")
        self.include(*pair)
        with mock.patch.dict(layers.OWED, {pair: "a test"}):
            self.assert_found("net/tls.c", "base/uuid.h", "take it out of OWED")

    def test_a_look_at_the_clock_is_found_in_every_room(self):
        self.write("http/reply.c", "void f(void) { time(NULL); }\n")
        self.assertEqual(len(list(layers.clocks_elsewhere(self.sidecar))), 1)

    def test_http_of_others_is_found_in_every_room(self):
        self.write("admin/admin.c", "#include <event2/http.h>\n")
        self.write("serve/new.c", "void f(void) { evhttp_new(0); }\n")
        self.assertEqual(len(list(layers.other_http(self.sidecar))), 2)


if __name__ == "__main__":
    unittest.main()
