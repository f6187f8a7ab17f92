"""Queries, conditions and messages with tags."""


def tagged(*tags, types=()):
    item = {"tags": list(tags)} if tags else {}
    if types:
        item["types"] = list(types)
    return {"items": [item]}


def unless(query, after=None):
    return {"failIfEventsMatch": query, **({} if after is None else {"after": after})}


def message(*tags, type="T", data=None, **members):
    return {"type": type, "data": data or {}, **({"tags": list(tags)} if tags else {}), **members}


def positions(client):
    return [each[4] for each in client.call("category.get", "", {"batchSize": -1})]
