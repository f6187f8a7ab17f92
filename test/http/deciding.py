"""Queries over tags and types, what matches them, and a match in doubt."""
import json

from store import sql
from subscriber import connect_to_namespace


def tagged(*tags, types=()):
    item = {"tags": list(tags)} if tags else {}
    if types:
        item["types"] = list(types)
    return {"items": [item]}


def unless(query, after=None):
    return {"failIfEventsMatch": query, **({} if after is None else {"after": after})}


def message(*tags, type="T", data=None, **members):
    return {"type": type, "data": data or {}, **({"tags": list(tags)} if tags else {}), **members}


def matches(query, type, tags):
    return "all" in query or any(type in item.get("types", [type]) and set(item.get("tags", [])) <= set(tags)
                                 for item in query["items"])


def positions(client):
    return [each[4] for each in client.call("category.get", "", {"batchSize": -1})]


class Open:
    """A transaction that has appended a message with a tag, and does not end by itself."""

    def __init__(self, connection, tag, stream="open"):
        self.connection = connection
        self.connection.autocommit = False
        sql(self.connection, "SELECT millrace.append(%s, 'Open', '{}', %s)", stream, json.dumps({"tags": [tag]}))

    def end(self, how):
        getattr(self.connection, how)()
        self.connection.close()


def drop_tag_index(server):
    """Of the namespace that was created last."""
    connection = connect_to_namespace(server)
    ((name,),) = sql(connection, "SELECT indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON"
                     " c.oid = indexrelid JOIN pg_am a ON a.oid = relam WHERE amname <> 'btree' AND indrelid ="
                     " (SELECT format('%I.messages', schema)::regclass FROM millrace.namespaces"
                     " ORDER BY created_at DESC LIMIT 1)")
    sql(connection, f"DROP INDEX {name}")
    connection.close()
