"""What a schema consists of, as text that can be compared: with what it does, who may use it, and what pg_dump makes of
it."""
from store import sql

ACL = "(SELECT array_agg(item::text ORDER BY item::text) FROM unnest({}) item)"
INITIAL = ("(SELECT array_agg(item::text ORDER BY item::text) FROM pg_init_privs i, unnest(i.initprivs) item "
           "WHERE i.classoid = {} AND i.objoid = {} AND i.objsubid = {})")


def member(catalogue, oid):
    return (
        "EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid "
        f"WHERE d.classid = '{catalogue}'::regclass AND d.objid = {oid} AND d.deptype = 'e' "
        "AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'millrace')")


def initial(catalogue, oid, column="0"):
    return INITIAL.format(f"'{catalogue}'::regclass", oid, column)


FUNCTIONS = f"""
SELECT 'function ' || p.oid::regprocedure, jsonb_build_object(
    'definition', pg_get_functiondef(p.oid), 'owner', proowner::regrole, 'acl', {ACL.format("proacl")},
    'initial acl', {initial("pg_proc", "p.oid")},
    'comment', obj_description(p.oid, 'pg_proc'), 'member', {member("pg_proc", "p.oid")})
FROM pg_proc p WHERE pronamespace = %s::regnamespace"""

RELATIONS = f"""
SELECT format('%%s %%s', relkind, c.oid::regclass), jsonb_build_object(
    'owner', relowner::regrole, 'acl', {ACL.format("relacl")}, 'initial acl', {initial("pg_class", "c.oid")},
    'comment', obj_description(c.oid, 'pg_class'),
    'persistence', relpersistence, 'options', reloptions, 'method', relam, 'replica identity', relreplident,
    'row security', relrowsecurity,
    'view', CASE relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END,
    'index', CASE relkind WHEN 'i' THEN pg_get_indexdef(c.oid) END,
    'constraints', (SELECT jsonb_object_agg(conname, pg_get_constraintdef(k.oid))
                    FROM pg_constraint k WHERE conrelid = c.oid),
    'rules', (SELECT count(*) FROM pg_rewrite WHERE ev_class = c.oid),
    'triggers', (SELECT count(*) FROM pg_trigger WHERE tgrelid = c.oid),
    'member', {member("pg_class", "c.oid")})
FROM pg_class c WHERE relnamespace = %s::regnamespace"""

COLUMNS = f"""
SELECT format('column %%s %%s.%%s', attnum, attrelid::regclass, attname), jsonb_build_object(
    'type', format_type(atttypid, atttypmod), 'collation', attcollation::regcollation, 'not null', attnotnull,
    'storage', attstorage,
    'compression', attcompression, 'identity', attidentity, 'generated', attgenerated, 'dropped', attisdropped,
    'missing', atthasmissing,
    'acl', {ACL.format("attacl")}, 'initial acl', {initial("pg_class", "attrelid", "attnum")},
    'comment', col_description(attrelid, attnum),
    'default', (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum))
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = %s::regnamespace AND attnum > 0"""

TYPES = f"""
SELECT 'type ' || t.oid::regtype, jsonb_build_object(
    'kind', typtype, 'owner', typowner::regrole, 'acl', {ACL.format("typacl")},
    'initial acl', {initial("pg_type", "t.oid")},
    'comment', obj_description(t.oid, 'pg_type'), 'member', {member("pg_type", "t.oid")})
FROM pg_type t WHERE typnamespace = %s::regnamespace"""

SCHEMA = f"""
SELECT 'schema', jsonb_build_object(
    'owner', nspowner::regrole, 'acl', {ACL.format("nspacl")}, 'initial acl', {initial("pg_namespace", "oid")})
FROM pg_namespace WHERE oid = %s::regnamespace"""

EXTENSION = """
SELECT 'extension', jsonb_build_object(
    'version', extversion, 'owner', extowner::regrole, 'schema', extnamespace::regnamespace,
    'relocatable', extrelocatable,
    'dumped', (SELECT array_agg(part::regclass ORDER BY part::regclass::text) FROM unnest(extconfig) part),
    'conditions', extcondition,
    'members', (SELECT array_agg(object ORDER BY object)
                FROM pg_depend, pg_describe_object(classid, objid, objsubid) object
                WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass AND refobjid = e.oid))
FROM pg_extension e WHERE extname = 'millrace'"""

SETTINGS = """
SELECT 'setting ' || name, jsonb_build_object(
    'default', boot_val, 'context', context, 'type', vartype, 'description', short_desc)
FROM pg_settings WHERE name LIKE 'millrace.%' OR name LIKE 'message_store.%'"""


def catalogue(connection, schema="millrace"):
    """Everything in the schema, by its name; of `millrace` the extension and its settings, too."""
    rows = [row for query in (FUNCTIONS, RELATIONS, COLUMNS, TYPES, SCHEMA) for row in sql(connection, query, schema)]
    if schema == "millrace":
        sql(connection, "SELECT millrace.category('')")  # loads the library, which brings the settings
        rows += sql(connection, EXTENSION) + sql(connection, SETTINGS)
    return dict(rows)


def difference(left, right):
    """The names of what differs, with both sides: what a failed comparison shows."""
    return {
        name: (left.get(name), right.get(name))
        for name in sorted(left.keys() | right.keys()) if left.get(name) != right.get(name)
    }
