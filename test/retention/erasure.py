"""Writes secrets, removes and redacts what has them, purges, and looks for them in every file of the database.

    secrets_listed  those that are found after a purge, where it says that some are left
    secrets_beside  those that are found after a purge elsewhere
    secrets_found   those that are found after a full purge, anywhere
"""
import json
import sys
import tempfile
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from store import Server, sql  # noqa: E402

PLACES = ["data", "metadata", "tag", "stream"]


def secret():
    return "secret" + uuid.uuid4().hex


class Secrets:
    def __init__(self, server, client, count):
        self.server, self.client, self.database = server, client, server.postgres()
        self.folder = Path(sql(self.database, "SHOW data_directory")[0][0])
        # As in a namespace that was there before, of whose messages ANALYZE takes samples.
        for column in ("stream_name", "data", "metadata"):
            sql(self.database, f"ALTER TABLE millrace_default.messages ALTER {column} SET STATISTICS -1")
        sql(self.database, "ALTER INDEX millrace_default.messages_category ALTER 1 SET STATISTICS -1")
        self.texts = []
        for n in range(count):
            self.texts += self.write(n, remove=n % 2 == 0)

    def write(self, n, remove):
        """A stream of two messages, which goes or is redacted; a name can't be redacted."""
        texts = {place: secret() for place in PLACES}
        stream = f"person-{texts['stream']}" if remove else f"person-{n}"
        for _ in range(2):
            self.client.write(stream, {"name": texts["data"]}, "T", {"mail": texts["metadata"], "tags": [texts["tag"]]})
        sql(self.database, "ANALYZE")  # when what it samples is still there
        if remove:
            sql(self.database, "SELECT millrace.remove_stream(%s)", stream)
        else:
            sql(self.database, "UPDATE millrace_default.messages SET data = '{}', metadata = NULL "
                               "WHERE stream_name = %s", stream)
        return [text for place, text in texts.items() if remove or place != "stream"]

    def files_with(self):
        """Of each file with secrets, how many."""
        found = {}
        wanted = [text.encode() for text in self.texts]
        for path in sorted(self.folder.rglob("*")):
            if not path.is_file():
                continue
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # a segment of the log that was recycled meanwhile
            count = sum(text in content for text in wanted)
            if count > 0:
                found[str(path.relative_to(self.folder))] = count
        return found

    def relation_of(self, path):
        """The table or index that a file in base/ is of."""
        node = Path(path).name.split("_")[0].split(".")[0]
        rows = sql(self.database, "SELECT oid::regclass::text FROM pg_class WHERE pg_relation_filenode(oid) = %s",
                   int(node))
        return rows[0][0] if rows else path

    def is_listed(self, path, left):
        """Whether what a purge said is left covers a file."""
        text = "\n".join(left)
        if path.startswith("pg_wal/"):
            return "write-ahead log" in text
        relation = self.relation_of(path)
        if "pg_statistic" in relation:
            return "pg_statistic" in text
        return relation.startswith(("millrace_default.", "pg_toast.")) and "schema millrace_default" in text


def run(count=10):
    with tempfile.TemporaryDirectory(prefix="millrace-secrets") as folder:
        Path(folder).chmod(0o755)
        server = Server("--data-dir", f"{folder}/data", "--workers", "1", "--new-token-file", f"{folder}/token")
        try:
            client = server.client(Path(f"{folder}/token").read_text().strip())
            secrets = Secrets(server, client, count)
            sql(secrets.database, "SELECT millrace.index_tags('default')")
            left = client.call("ns.purge", "default")["left"]
            sql(secrets.database, "CHECKPOINT")
            found = secrets.files_with()
            counts = {"secrets_written": len(secrets.texts),
                      "secrets_listed": sum(n for path, n in found.items() if secrets.is_listed(path, left)),
                      "secrets_beside": sum(n for path, n in found.items() if not secrets.is_listed(path, left))}
            client.call("ns.purge", "default", {"full": True})
            counts["secrets_found"] = sum(secrets.files_with().values())
            secrets.database.close()
        finally:
            server.stop()
        counts["secrets_found"] += sum(secrets.files_with().values())
        counts["secrets_found"] += sum(text in server.text for text in secrets.texts)
    return counts


if __name__ == "__main__":
    print(json.dumps(run()))
