-- Consumers, by one session: every function and view, what each says to bad input.  With several: test/isolation/consumer*.spec.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
-- What a statement answers, or its error, with its hint.  Numbers of claims are different each time.
CREATE FUNCTION pg_temp.said(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    hint text;
BEGIN
    EXECUTE 'SELECT string_agg(t::text, chr(10)) FROM (' || statement || ') t' INTO answer;
    RETURN regexp_replace(coalesce(answer, 'nothing'), '\d{12,}', 'N', 'g');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(SQLSTATE || ' ' || SQLERRM || CASE WHEN hint <> '' THEN ' (' || hint || ')' ELSE '' END, '\d{12,}', 'N', 'g');
END $$;
CREATE FUNCTION pg_temp.next(consumer text, max integer DEFAULT 100) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.said(format('SELECT stream_name, "position", attempt, error FROM millrace.consumer_next(%L, %s) ORDER BY global_position', consumer, max)) $$;
-- The open claim that was given last, and the same in a call of settle.
CREATE FUNCTION pg_temp.claim(consumer text) RETURNS bigint LANGUAGE sql AS $$
    SELECT max(claim) FROM millrace.consumer_claims_open c WHERE c.consumer = claim.consumer AND namespace = current_setting('millrace.namespace') $$;
CREATE FUNCTION pg_temp.settle(consumer text, failed jsonb DEFAULT NULL, release boolean DEFAULT false, up_to bigint DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.said(format('SELECT millrace.consumer_settle(%L, %s, %L, %L, %s)', consumer, coalesce(pg_temp.claim(consumer), 0), failed, release, coalesce(up_to::text, 'NULL'))) $$;
CREATE FUNCTION pg_temp.status(consumer text) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s%s, ceiling %s, floor %s, lag %s, %s claims with %s, %s waiting, %s retrying, %s parked', state, ': ' || reason, ceiling, floor, lag, claims, in_flight, waiting, retrying, parked)
    FROM millrace.consumer_status WHERE name = consumer AND namespace = current_setting('millrace.namespace') $$;

-- Before there is anything.
SELECT pg_temp.said($$ SELECT millrace.create_consumer('c', namespace => 'nowhere') $$);
SELECT pg_temp.said($$ SELECT millrace.consumer_next('c', namespace => 'nowhere') $$);
SELECT millrace.create_namespace('consumers') IS NOT NULL AS created;
SET millrace.namespace = 'consumers';
SELECT pg_temp.said(s) FROM unnest(ARRAY[$$ SELECT millrace.consumer_next('c') $$, $$ SELECT millrace.consumer_settle('c', 1) $$,
    $$ SELECT millrace.consumer_extend('c', 1) $$, $$ SELECT millrace.drop_consumer('c') $$, $$ SELECT millrace.consumer_pause('c') $$]) s;
SELECT count(*) FROM millrace.consumer_status WHERE namespace = 'consumers';

-- Creating: the same again, another of that name, and what comes near.
SELECT millrace.create_consumer('c', 'a');
SELECT millrace.create_consumer('c', 'a');
SELECT millrace.create_consumer(name => 'c', category => 'a', ordering => 'stream', at_end => true) AS where_it_begins_is_not_what_it_is;
SELECT pg_temp.said('SELECT millrace.create_consumer(' || s || ')') FROM unnest(ARRAY[$$'c', 'b'$$, $$'c'$$, $$'c', stream => 'a'$$, $$'c', 'a', types => '{T}'$$,
    $$'c', 'a', correlation => 'x'$$, $$'c', 'a', ordering => 'all'$$, $$'c', 'a', options => '{}'$$, $$'c', 'a', options => '{"leaseMs":1000}'$$]) s;
SELECT pg_temp.said('SELECT millrace.create_consumer(' || s || ')') FROM unnest(ARRAY[$$NULL$$, $$''$$, $$repeat('x', 201)$$, $$'n', '', ''$$, $$'n', 'a', 'a-1'$$,
    $$'n', ordering => NULL$$, $$'n', ordering => 'Stream'$$, $$'n', ordering => ''$$, $$'n', types => '{T,NULL}'$$, $$'n', types => '{{T},{U}}'$$,
    $$'n', types => array_fill('T'::text, '{1001}')$$, $$'n', "position" => 1, at_end => true$$, $$'n', "position" => 1, since => now()$$, $$'n', since => now(), at_end => true$$,
    $$'n', "position" => -1$$, $$'n', at_end => NULL, options => NULL, namespace => ''$$]) s;
SELECT pg_temp.said(format('SELECT millrace.create_consumer(''n'', options => %L)', s)) FROM unnest(ARRAY['1', '[]', 'null', '"leaseMs"', '{"lease":1000}', '{"LeaseMs":1000}', '{"leaseMs":null}',
    '{"leaseMs":999}', '{"leaseMs":43200001}', '{"leaseMs":1000.5}', '{"leaseMs":"1000"}', '{"leaseMs":1e400}', '{"maxAttempts":0}', '{"maxAttempts":1000001}', '{"maxParked":0}',
    '{"onPoison":"Park"}', '{"onPoison":null}', '{"onPoison":["park"]}', '{"":1}']) s;
SELECT count(*) FROM millrace.consumer_status WHERE namespace = 'consumers';
SELECT pg_temp.said('SELECT millrace.create_consumer(' || s || ')') FROM unnest(ARRAY[$$repeat('x', 200)$$, $$'with "quotes" and ''others'' %s'$$, $$'é'$$,
    $$'o1', options => '{"leaseMs":1000,"maxAttempts":1,"maxParked":1000000,"onPoison":"stop"}'$$, $$'o2', options => '{"leaseMs":43200000.0}'$$]) s;
SELECT pg_temp.said('SELECT millrace.drop_consumer(' || s || ')') FROM unnest(ARRAY[$$repeat('x', 200)$$, $$'with "quotes" and ''others'' %s'$$, $$'é'$$, $$'o1'$$, $$'o2'$$, $$'o2'$$, $$NULL$$, $$''$$]) s;

-- A category and a stream that nothing can be in are refused as the reads refuse them; '' is nothing in particular.
SELECT pg_temp.said('SELECT millrace.' || s) FROM unnest(ARRAY[$$create_consumer('n', 'a-1')$$, $$create_consumer('n', '')$$, $$create_consumer('n', stream => '')$$,
    $$create_consumer('n', stream => repeat('s', 2001))$$]) s;
SELECT pg_temp.said('SELECT * FROM millrace.' || s) FROM unnest(ARRAY[$$read_category('a-1')$$, $$read_category('')$$, $$read_stream('')$$, $$read_stream(repeat('s', 2001))$$]) s;

-- A claim: in global order, by stream; settled; and what next() takes.
SELECT count(millrace.append('a-' || n % 3, 'T', '{}')) FROM generate_series(1, 6) n;
SELECT count(millrace.append('b-1', 'T', '{}')) FROM generate_series(1, 2) n;
SELECT pg_temp.said('SELECT millrace.consumer_next(' || s || ')') FROM unnest(ARRAY[$$NULL$$, $$''$$, $$'C'$$, $$'c', 0$$, $$'c', 1001$$, $$'c', -1$$, $$'c', 1, 0$$, $$'c', 1, 8388609$$,
    $$'c', lease => '999 ms'$$, $$'c', lease => '12 hours 1 ms'$$, $$'c', lease => '-1 s'$$, $$'c', lease => '1 day'$$, $$'c', lease => '1 month'$$, $$'c', member => repeat('m', 201)$$]) s;
SELECT claim > 0 AS claim, id IS NOT NULL AS id, stream_name, type, "position", global_position, data, metadata, time > now() - interval '1 hour' AS time, attempt, error
    FROM millrace.consumer_next('c', 4, NULL, NULL, NULL, NULL, NULL);
SELECT pg_temp.next('c', 1);
SELECT pg_temp.next('c');
SELECT pg_temp.status('c');
SELECT consumer, claim > 0 AS claim, granted <= clock_timestamp() AS granted, lease_until - granted AS lease, member, request, messages, streams, global_position
    FROM millrace.consumer_claims_open WHERE namespace = 'consumers';
SELECT pg_temp.settle('c');
SELECT pg_temp.status('c');
SELECT pg_temp.next('c');
SELECT pg_temp.status('c');
SELECT pg_temp.settle('c');
SELECT pg_temp.said($$ SELECT millrace.consumer_settle('c', (SELECT max(claim) FROM millrace_consumers.consumer_claims)) $$) AS again;
SELECT pg_temp.next('c');
SELECT pg_temp.status('c');
SELECT pg_temp.said('SELECT millrace.consumer_' || s) FROM unnest(ARRAY[$$settle('c', NULL)$$, $$settle('c', 0)$$, $$settle('c', -1)$$, $$settle('c', 9223372036854775807)$$, $$settle(NULL, 1)$$, $$settle('d', 1)$$,
    $$extend('c', NULL)$$, $$extend('c', 1)$$, $$extend('c', 1, '0 s')$$, $$extend('d', 1)$$, $$extend(NULL, 1)$$]) s;

-- The lease, the member, the request: the same again, as long as it is open.
SELECT count(millrace.append('a-1', 'T', '{}')) FROM generate_series(1, 2) n;
SELECT "position" FROM millrace.consumer_next('c', 1, lease => '12 hours', member => 'm"1', request => '00000000-0000-0000-0000-000000000001');
SELECT "position" FROM millrace.consumer_next('c', 5, member => 'm2', request => '00000000-0000-0000-0000-000000000001');
SELECT lease_until - granted AS lease, member, request, messages FROM millrace.consumer_claims_open WHERE namespace = 'consumers';
SELECT millrace.consumer_extend('c', pg_temp.claim('c'), '2 s');
SELECT lease_until - granted AS lease FROM millrace.consumer_claims_open WHERE namespace = 'consumers';
SELECT millrace.consumer_extend('c', pg_temp.claim('c'));
SELECT lease_until - granted AS lease FROM millrace.consumer_claims_open WHERE namespace = 'consumers';
SELECT pg_temp.settle('c');
SELECT "position" FROM millrace.consumer_next('c', request => '00000000-0000-0000-0000-000000000001');
SELECT pg_temp.settle('c', release => true);

-- What failed comes again, and what is behind it in its stream; the rest is settled.
SELECT count(millrace.append('a-' || n % 2, 'T', '{}')) FROM generate_series(1, 3) n;
SELECT pg_temp.next('c', 1);
SELECT pg_temp.settle('c');
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c', s::jsonb) FROM unnest(ARRAY['1', '{}', '"x"', '[1]', '[{}]', '[{"stream":"a-1"}]', '[{"position":4}]', '[{"stream":"a-1","position":-1}]', '[{"stream":1,"position":4}]',
    '[{"stream":"a-1","position":"4"}]', '[{"stream":"a-1","position":4.5}]', '[{"stream":"a-1","position":1e30}]', '[{"stream":"a-1","position":-1e30}]', '[{"stream":"a-1","position":4,"error":1}]', '[{"stream":"a-1","position":4,"delayMs":-1}]',
    '[{"stream":"a-1","position":4,"delayMs":43200001}]', '[{"stream":"a-1","position":4,"delayMs":0.5}]', '[{"stream":"a-1","position":4,"park":1}]', '[{"stream":"a-1","position":4,"parked":true}]',
    '[{"stream":"a-1","position":0}]', '[{"stream":"a-1","position":99}]', '[{"stream":"a-9","position":0}]', '[{"stream":"b-1","position":0}]', '[{"stream":"","position":0}]']) s;
SELECT body FROM unnest(ARRAY['{"claim":1,"upTo":-1}', '{"claim":1.5}', '{"claim":-1}']) s, LATERAL pg_temp.said(format('SELECT settled FROM millrace.json_consumer_settle(''consumers'', ''c'', ''[{"settle":[%s]}]'')', s)) body;
SELECT body FROM unnest(ARRAY['{"leaseMs":0}', '{"leaseMs":999}', '{"max":0}', '{"max":1.5}', '{"maxBytes":-1}', '{"request":"x"}', '{"waitMs":1}', '[]', '1']) s,
    LATERAL pg_temp.said(format('SELECT body FROM millrace.json_consumer_next(''consumers'', ''c'', ''[%s]'')', s)) body;
SELECT pg_temp.settle('c', '[{"stream":"a-1","position":4}]', up_to => 10);
SELECT pg_temp.settle('c', '[{"stream":"a-1","position":4}]', release => true);
SELECT pg_temp.settle('c', up_to => -1);
SELECT pg_temp.settle('c', ('[{"stream":"a-1","position":5,"delayMs":0},{"stream":"a-1","position":4,"delayMs":0,"error":"' || repeat('é', 1001) || '"}]')::jsonb);
SELECT pg_temp.status('c') AS before_it_is_taken_in;
SELECT stream_name, "position", attempt, octet_length(error) AS error FROM millrace.consumer_next('c');
SELECT pg_temp.status('c');
SELECT consumer, stream, "position", global_position, claim > 0 AS claim, attempts, suspect, retry_at < now() + interval '1 min' AS retry_at, first_failed < now() + interval '1 min' AS first_failed, parked_at, octet_length(error) AS error
    FROM millrace.consumer_streams_blocked WHERE namespace = 'consumers';
SELECT pg_temp.settle('c');
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c', up_to => 10);
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c', '[]');

-- A retry waits; parking by the member; what operators do.
SELECT count(millrace.append('a-1', 'T', '{}')) FROM generate_series(1, 3) n;
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c', '[{"stream":"a-1","position":7,"error":"no"}]');
SELECT pg_temp.next('c');
SELECT attempts, retry_at - first_failed BETWEEN '0.8 s' AND '1.2 s' AS in_a_second, parked_at IS NULL AS retried FROM millrace.consumer_streams_blocked WHERE namespace = 'consumers';
SELECT pg_temp.said('SELECT millrace.consumer_skip(' || s || ')') FROM unnest(ARRAY[$$'c', 'a-1', 6$$, $$'c', 'a-1', 8$$, $$'c', 'a-2', 0$$, $$'c', NULL, 0$$, $$'c', 'a-1', NULL$$, $$NULL, 'a-1', 7$$, $$'d', 'a-1', 7$$]) s;
SELECT millrace.consumer_skip('c', 'a-1', 7);
SELECT stream, "position", attempts, error FROM millrace_consumers.consumer_skipped;
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c', '[{"stream":"a-1","position":8,"error":"never","park":true}]');
SELECT millrace.consumer_unpark('c', 'a-1') AS also_what_no_call_of_next_has_seen;
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c', '[{"stream":"a-1","position":8,"error":"never","park":true}]');
SELECT pg_temp.next('c');
SELECT pg_temp.status('c');
SELECT pg_temp.said('SELECT millrace.consumer_unpark(' || s || ')') FROM unnest(ARRAY[$$NULL$$, $$'d'$$, $$'c', 'a-2'$$, $$'c', max_streams => 0$$, $$'c', 'a-1', 0$$, $$'c', max_streams => -1$$, $$'c', ''$$]) s;
SELECT millrace.consumer_unpark('c');
SELECT pg_temp.next('c') AS attempts_begin_anew;
SELECT pg_temp.settle('c');
-- By an operator's hand: paused, what is open can be settled; run again.
SELECT pg_temp.said('SELECT millrace.consumer_' || s) FROM unnest(ARRAY[$$pause(NULL)$$, $$pause('d')$$, $$resume(NULL)$$, $$resume('d')$$, $$set_state('c', NULL, 'consumers')$$]) s;
SELECT count(millrace.append('a-1', 'T', '{}')) FROM generate_series(1, 2) n;
SELECT pg_temp.next('c', 1);
SELECT millrace.consumer_pause('c');
SELECT pg_temp.settle('c');
SELECT pg_temp.next('c');
SELECT pg_temp.status('c');
SELECT millrace.consumer_resume('c');
SELECT pg_temp.next('c');
-- Reset: every claim is lost, and it begins where one says.
SELECT pg_temp.said('SELECT millrace.consumer_reset(' || s || ')') FROM unnest(ARRAY[$$NULL$$, $$'d'$$, $$'c', -1$$]) s;
CREATE TEMP TABLE lost AS SELECT pg_temp.claim('c') AS claim;
SELECT millrace.consumer_reset('c', 18);
SELECT pg_temp.said(format('SELECT millrace.consumer_settle(''c'', %s)', claim)), pg_temp.said(format('SELECT millrace.consumer_extend(''c'', %s)', claim)) FROM lost;
SELECT pg_temp.next('c');
SELECT pg_temp.claim('c') > claim AS higher FROM lost;
SELECT millrace.consumer_reset('c', 9223372036854775807);
SELECT pg_temp.next('c'), pg_temp.status('c');
SELECT millrace.consumer_reset('c', NULL, NULL);
SELECT pg_temp.next('c', 2);
-- What was skipped once can be skipped once more.
SELECT millrace.create_consumer('s', 'b', options => '{"maxAttempts":1,"onPoison":"skip"}');
CREATE FUNCTION pg_temp.skip() RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.next('s');
    SELECT pg_temp.settle('s', '[{"stream":"b-1","position":0,"error":"no","delayMs":0}]');
    SELECT pg_temp.next('s');
    SELECT pg_temp.settle('s', release => true);
    SELECT pg_temp.said('SELECT millrace.consumer_skip(''s'', ''b-1'', 0)') $$;
SELECT pg_temp.skip();
SELECT millrace.consumer_reset('s');
SELECT pg_temp.skip();
SELECT "position", attempts, error FROM millrace_consumers.consumer_skipped WHERE stream = 'b-1';

-- The other orders.
SELECT millrace.create_consumer('all', ordering => 'all', types => '{T}');
SELECT pg_temp.next('all', 3);
SELECT pg_temp.next('all', 3) AS one_claim_at_a_time;
SELECT pg_temp.settle('all', '[{"stream":"a-2","position":0,"delayMs":0}]');
SELECT pg_temp.next('all', 3) AS alone;
SELECT pg_temp.settle('all');
SELECT pg_temp.next('all', 3);
SELECT millrace.create_consumer('m', ordering => 'manual', "position" => 5);
SELECT pg_temp.said('SELECT millrace.consumer_' || s) FROM unnest(ARRAY[$$next('m')$$, $$move('m', 3, 7)$$, $$move('m', 4, NULL)$$, $$move('m', NULL, 4)$$, $$move('c', 4, 5)$$, $$move('d', 4, 5)$$, $$move('m', 4, -1)$$,
    $$move('m', 4, 9223372036854775807)$$, $$move('m', 4, 7)$$, $$move('m', 4, 7)$$, $$move('m', 7, 6)$$]) s;
SELECT pg_temp.status('m');
-- Where one begins.
SELECT millrace.create_consumer('end', at_end => true), millrace.create_consumer('since', since => now() + interval '1 hour'), millrace.create_consumer('past', since => '-infinity'),
    millrace.create_consumer('first', "position" => 0), millrace.create_consumer('last', "position" => 9223372036854775807);
SELECT name, ceiling, floor, lag FROM millrace.consumer_status WHERE namespace = 'consumers' AND name IN ('end', 'since', 'past', 'first', 'last') ORDER BY 1;
SELECT pg_temp.next('last');
-- Two streams whose names have one hash (FNV-1a) are two streams.
SELECT millrace.create_namespace('consumers of two') IS NOT NULL AS created;
SET millrace.namespace = 'consumers of two';
SELECT millrace.create_consumer('c');
SELECT count(millrace.append(s, 'T', '{}')) FROM unnest(ARRAY['8yn0iYCKYHlIj4-BwPqk', 'GReLUrM4wMqfg9yzV3KQ', '8yn0iYCKYHlIj4-BwPqk', 'GReLUrM4wMqfg9yzV3KQ']) s;
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c', release => true);
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c', '[{"stream":"8yn0iYCKYHlIj4-BwPqk","position":1,"delayMs":0}]');
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c', '[{"stream":"8yn0iYCKYHlIj4-BwPqk","position":1,"park":true}]', up_to => 3);
SELECT pg_temp.next('c');
SELECT pg_temp.status('c');
SELECT millrace.consumer_unpark('c');
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c');
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c');
SELECT pg_temp.status('c');
-- One of them is parked.
SELECT count(millrace.append(s, 'T', '{}')) FROM unnest(ARRAY['GReLUrM4wMqfg9yzV3KQ', '8yn0iYCKYHlIj4-BwPqk']) s;
SELECT pg_temp.next('c');
SELECT pg_temp.settle('c', '[{"stream":"GReLUrM4wMqfg9yzV3KQ","position":2,"park":true}]');
SELECT pg_temp.next('c');
SELECT count(millrace.append(s, 'T', '{}')) FROM unnest(ARRAY['GReLUrM4wMqfg9yzV3KQ', 'other-1']) s;
SELECT pg_temp.next('c');
SELECT pg_temp.status('c');
-- Levels of isolation.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.said($$ SELECT millrace.consumer_next('c') $$);
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pg_temp.said($$ SELECT millrace.consumer_next('c') $$);
ROLLBACK;
BEGIN READ ONLY;
SELECT pg_temp.said('SELECT millrace.' || s) FROM unnest(ARRAY[$$create_consumer('c')$$, $$drop_consumer('c')$$, $$consumer_next('c')$$, $$consumer_settle('c', 1)$$, $$consumer_extend('c', 1)$$, $$consumer_move('c', 1, 1)$$,
    $$consumer_unpark('c')$$, $$consumer_skip('c', 's', 1)$$, $$consumer_reset('c')$$, $$consumer_pause('c')$$, $$json_consumer_next('consumers', 'c', '[{}]')$$]) s;
SELECT pg_temp.status('c');
ROLLBACK;
SELECT millrace.drop_namespace('consumers'), millrace.drop_namespace('consumers of two');
