-- Reading backward: bad input first.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('backward') IS NOT NULL AS created;
SET millrace.namespace = 'backward';
SELECT * FROM millrace.read_all(direction => NULL);
SELECT * FROM millrace.read_all(direction => '');
SELECT * FROM millrace.read_category('s', direction => 'Backward');
SELECT * FROM millrace.read_stream('s-1', direction => 'down');
SELECT count(*) FROM (SELECT millrace.read_all(direction => 'up')) AS called;
SELECT * FROM millrace.read_all(batch_size => -2, direction => 'backward');
SELECT * FROM millrace.read_category(NULL, direction => 'backward');
SELECT * FROM millrace.read_stream('', direction => 'backward');
SELECT * FROM millrace.json_read_stream('backward', 's-1', NULL, NULL, 1, NULL, 1000, NULL);
SELECT * FROM millrace.json_read_category('backward', 's', NULL, 1, NULL, NULL, NULL, NULL, 1000, 'x');
SELECT * FROM millrace.json_read_category('nowhere', 's', NULL, 1, NULL, NULL, NULL, NULL, 1000, 'backward');
-- An empty namespace.
SELECT * FROM millrace.read_stream('s-1', direction => 'backward');
SELECT * FROM millrace.read_category('s', direction => 'backward');
SELECT * FROM millrace.read_all(direction => 'backward');
SELECT * FROM millrace.json_read_category('backward', '', NULL, 1, NULL, NULL, NULL, NULL, 1000, 'backward');

SELECT count(millrace.append(CASE WHEN n % 3 = 0 THEN 'a-1' ELSE 'b-' || n % 4 END, 'T' || n % 2, jsonb_build_object('n', n), jsonb_build_object('correlationStreamName', 'c' || n % 2)))
FROM generate_series(1, 20) AS n;
-- The node and the function give the same, and so does the reverse of reading forward.
EXPLAIN (COSTS OFF) SELECT global_position FROM millrace.read_all(batch_size => 3, direction => 'backward');
SELECT global_position, stream_name, "position", type, data FROM millrace.read_all(batch_size => 3, direction => 'backward');
CREATE FUNCTION both_ways(category text, types text[], correlation text, member bigint, size bigint) RETURNS TABLE (backward text, same_by_node boolean, same_forward boolean)
LANGUAGE sql AS $$
    WITH called AS (SELECT (m).global_position FROM (SELECT millrace.read_category(category, NULL, 1000, correlation, member, size, types, NULL, 'backward')) AS c (m)),
        numbered AS (SELECT string_agg(global_position::text, ' ' ORDER BY n) AS positions FROM (SELECT global_position, row_number() OVER () AS n FROM called) c),
        node AS (SELECT string_agg(global_position::text, ' ' ORDER BY n) AS positions
                 FROM millrace.read_category(category, NULL, 1000, correlation, member, size, types, NULL, 'backward') WITH ORDINALITY AS m (id, s, t, p, global_position, d, md, "time", n)),
        forward AS (SELECT string_agg(global_position::text, ' ' ORDER BY global_position DESC) AS positions
                    FROM millrace.read_category(category, NULL, 1000, correlation, member, size, types))
    SELECT numbered.positions, numbered.positions = node.positions, numbered.positions = forward.positions FROM numbered, node, forward $$;
SELECT * FROM both_ways('b', NULL, NULL, NULL, NULL);
SELECT * FROM both_ways('b', '{T1}', NULL, NULL, NULL);
SELECT * FROM both_ways('b', NULL, 'c0', NULL, NULL);
SELECT * FROM both_ways('b', NULL, NULL, 0, 2);
SELECT * FROM both_ways('b', '{T1}', 'c1', 0, 2);
DROP FUNCTION both_ways;
-- Positions are the highest wanted.
SELECT array_agg("position") FROM millrace.read_stream('a-1', direction => 'backward');
SELECT array_agg("position") FROM millrace.read_stream('a-1', 3, 2, direction => 'backward');
SELECT array_agg("position") FROM millrace.read_stream('a-1', 0, direction => 'backward');
SELECT array_agg("position") FROM millrace.read_stream('a-1', -1, direction => 'backward');
SELECT array_agg("position") FROM millrace.read_stream('a-1', 100, types => '{T1}', direction => 'backward');
SELECT array_agg(global_position) FROM millrace.read_category('a', 9, 2, direction => 'backward');
SELECT array_agg(global_position) FROM millrace.read_category('a', 8, 2, direction => 'backward');
SELECT array_agg(global_position) FROM millrace.read_all(1, direction => 'backward');
SELECT array_agg(global_position) FROM millrace.read_all(0, direction => 'backward');
SELECT array_agg(global_position) FROM millrace.read_all(1000000, 2, direction => 'backward');
SELECT array_agg(global_position) FROM millrace.read_all(batch_size => 0, direction => 'backward');
SELECT count(*) FROM millrace.read_all(NULL, -1, direction => 'backward');
-- A position that is left out means what it did.
SELECT count(*) FROM millrace.read_all(direction => 'forward');
SELECT min(global_position) FROM millrace.read_category('a', batch_size => 1);
-- JSON: pages, and where the next one begins.
CREATE FUNCTION pages(stream text, page_bytes integer) RETURNS TABLE (positions text, next bigint) LANGUAGE plpgsql AS $$
DECLARE
    body text;
BEGIN
    LOOP
        IF stream = '' THEN
            SELECT p.body, next_position INTO body, next FROM millrace.json_read_category('backward', '', next, 1000, NULL, NULL, NULL, NULL, page_bytes, 'backward') p;
        ELSE
            SELECT p.body, next_position INTO body, next FROM millrace.json_read_stream('backward', stream, next, NULL, 1000, NULL, page_bytes, 'backward') p;
        END IF;
        positions := (SELECT string_agg(m ->> CASE stream WHEN '' THEN 4 ELSE 2 END, ' ') FROM jsonb_array_elements(('[' || body || ']')::jsonb) m);
        RETURN NEXT;
        EXIT WHEN next IS NULL;
    END LOOP;
END $$;
SELECT * FROM pages('a-1', 1);
SELECT * FROM pages('a-1', 400);
SELECT * FROM pages('', 1000);
DROP FUNCTION pages;
SELECT count, next_position FROM millrace.json_read_category('backward', 'a', NULL, 2, NULL, NULL, NULL, NULL, 1000000, 'backward');
-- Of a stream, up to a global position: one of its own, the one behind it, another's.
SELECT g, (body::json -> 2)::text AS "position" FROM unnest(ARRAY[0, 2, 3, 5, 6, 8, 9, 10, 18, 20, 9223372036854775807]) g
    LEFT JOIN LATERAL millrace.json_read_stream('backward', 'a-1', NULL, g, 1, NULL, 1, 'backward') ON count > 0;
SELECT (body::json -> 2)::text AS "position" FROM millrace.json_read_stream('backward', 'a-1', 2, 18, 1, NULL, 1, 'backward');
-- Its own transaction sees what it wrote, subtransactions or not, and what it took back is gone.
BEGIN;
SELECT global_position FROM millrace.append('a-1', 'T', '{}');
SAVEPOINT s;
SELECT global_position FROM millrace.append('a-2', 'T', '{}');
SELECT array_agg(global_position) FROM millrace.read_all(batch_size => 3, direction => 'backward');
ROLLBACK TO s;
SELECT array_agg(global_position) FROM millrace.read_all(batch_size => 3, direction => 'backward');
SELECT array_agg(global_position) FROM millrace.read_category('a', batch_size => 2, direction => 'backward');
ROLLBACK;
SELECT array_agg(global_position) FROM millrace.read_all(batch_size => 3, direction => 'backward');
-- What a statement writes while it reads is not among its rows.
SELECT global_position, (millrace.append('d-1', 'T', '{}')).global_position AS appended FROM millrace.read_all(batch_size => 2, direction => 'backward');
-- Deleted and updated by hand.
DELETE FROM millrace_backward.messages WHERE global_position = 23;
UPDATE millrace_backward.messages SET type = 'U' WHERE global_position = 20;
SELECT global_position, type FROM millrace.read_all(batch_size => 3, direction => 'backward');
-- Cursors, one that is left early, and one that goes back.
BEGIN;
DECLARE newest CURSOR FOR SELECT global_position FROM millrace.read_all(direction => 'backward');
FETCH 2 FROM newest;
SELECT count(millrace.append('d-1', 'T', '{}'));
FETCH 2 FROM newest;
DECLARE scrolled SCROLL CURSOR FOR SELECT global_position FROM millrace.read_all(4, direction => 'backward');
FETCH LAST FROM scrolled;
FETCH BACKWARD 1 FROM scrolled;
COMMIT;
-- Emptied, and begun again.
TRUNCATE millrace_backward.messages RESTART IDENTITY;
SELECT array_agg(global_position) FROM millrace.read_all(direction => 'backward');
SELECT count(millrace.append('a-1', 'T', '{}')) FROM generate_series(1, 3);
SELECT array_agg(global_position) FROM millrace.read_all(direction => 'backward');
-- Put there by hand at the very ends.
INSERT INTO millrace_backward.messages (global_position, position, stream_name, type) VALUES (9223372036854775807, 9223372036854775807, 'z-1', 'T'), (-5, -9223372036854775808, 'z-1', 'T');
SELECT array_agg(global_position) FROM millrace.read_all(direction => 'backward');
SELECT array_agg(global_position) FROM millrace.read_category('z', direction => 'backward');
SELECT array_agg("position") FROM millrace.read_stream('z-1', direction => 'backward');
SELECT count, next_position FROM millrace.json_read_stream('backward', 'z-1', NULL, NULL, 10, NULL, 1, 'backward');
SELECT count, next_position FROM millrace.json_read_category('backward', '', -4, 10, NULL, NULL, NULL, NULL, 1, 'backward');
RESET millrace.namespace;
SELECT millrace.drop_namespace('backward');
