-- What a stream's name says.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT name, millrace.category(name), millrace.stream_id(name), millrace.cardinal_id(name)
FROM (VALUES ('account'), ('account-123'), ('a-b-c+d'), ('a-1+2+3'), ('a-'), ('a-+b'), ('-x'), (''), (NULL)) AS names (name);
SELECT value, millrace.hash_64(value)
FROM (VALUES (''), ('0'), ('1'), ('2'), ('3'), ('6'), ('100'), ('123'), ('abc'), ('account'), ('stream0'), (NULL)) AS v (value);
