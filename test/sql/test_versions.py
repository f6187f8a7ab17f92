"""The versions of the extension, and the way from each to the newest (extension/README.md, "Upgrade")."""
import subprocess

from store import MILLRACE, sql

# All that the extension owns, and what its functions do.
MEMBERS = """
SELECT pg_describe_object(classid, objid, objsubid),
       CASE classid WHEN 'pg_proc'::regclass THEN (SELECT md5(concat(prosrc, probin, proconfig, proacl, provolatile, proisstrict, proparallel,
                                                                     pg_get_function_arguments(oid), pg_get_function_result(oid))) FROM pg_proc p WHERE p.oid = objid)
                    WHEN 'pg_class'::regclass THEN (SELECT md5(concat(relkind, relacl, (SELECT string_agg(concat(attname, format_type(atttypid, atttypmod), attnotnull), ',' ORDER BY attnum)
                                                                                FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
                                                              CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END)) FROM pg_class c WHERE c.oid = objid) END
FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'millrace')
ORDER BY 1"""


def members(cluster, database, *statements):
    sql(cluster.connect(), f"CREATE DATABASE {database}")
    connection = cluster.connect(database)
    for statement in statements:
        sql(connection, statement)
    return sql(connection, MEMBERS)


def test_the_newest_version_is_the_one_that_the_program_needs(cluster):
    ((newest,),) = sql(cluster.connect(), "SELECT default_version FROM pg_available_extensions WHERE name = 'millrace'")
    ours = subprocess.run([MILLRACE, "version"], capture_output=True, text=True, check=True).stdout
    assert newest.rsplit(".", 1)[0] in ours.replace("\n", "."), ours
    assert len(members(cluster, "fresh", "CREATE EXTENSION millrace")) > 50


def test_every_older_version_is_updated_to_what_a_new_database_has(cluster):
    versions = sql(cluster.connect(), "SELECT version, version = default_version FROM pg_available_extension_versions JOIN pg_available_extensions USING (name) WHERE name = 'millrace'")
    assert [newest for _, newest in versions].count(True) == 1
    fresh = members(cluster, "fresh", "CREATE EXTENSION millrace")
    for number, (version, _) in enumerate(versions):
        updated = members(cluster, f"updated_{number}", f"CREATE EXTENSION millrace VERSION '{version}'", "ALTER EXTENSION millrace UPDATE")
        assert updated == fresh, version
