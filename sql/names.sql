-- What a stream's name says.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT name, millrace.category(name), millrace.stream_id(name), millrace.cardinal_id(name)
FROM (VALUES ('account'), ('account-123'), ('a-b-c+d'), ('a-1+2+3'), ('a-'), ('a-+b'), ('-x'), (''), (NULL)) AS names (name);
SELECT value, millrace.hash_64(value)
FROM (VALUES (''), ('0'), ('1'), ('2'), ('3'), ('6'), ('100'), ('123'), ('abc'), ('account'), ('stream0'), (NULL)) AS v (value);
-- The hash is MD5's, whatever the length.
SELECT count(*) AS different FROM generate_series(0, 300) n, LATERAL (SELECT left(repeat('stream-é+', 50), n) AS value) v
WHERE millrace.hash_64(value) <> ('x' || left(md5(value), 16))::bit(64)::bigint;
-- Of any length, over the borders of blocks.
SELECT count(*) FILTER (WHERE millrace.hash_64(repeat('x', n)) <> ('x' || left(md5(repeat('x', n)), 16))::bit(64)::bigint) AS wrong
FROM generate_series(0, 300) AS n;
SELECT millrace.hash_64(repeat('xyz', 1000000)) = ('x' || left(md5(repeat('xyz', 1000000)), 16))::bit(64)::bigint AS long;
