-- A claim passes over messages of streams that another claim has, of many at once, and goes on behind them.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS millrace;
SELECT millrace.create_namespace('claimed') IS NOT NULL AS created;
SET millrace.namespace = 'claimed';
SELECT count(millrace.append('account-' || n % 50, 'Deposited', '{}')) FROM generate_series(0, 999) n;
SELECT position FROM millrace.append('account-last', 'Deposited', '{}');
SELECT millrace.create_consumer('billing', 'account');
SELECT claim AS first, count(*) AS messages FROM millrace.consumer_next('billing', 50) GROUP BY claim \gset
SELECT :messages AS messages;
SELECT claim AS second, stream_name FROM millrace.consumer_next('billing', 50) \gset
SELECT :'stream_name' AS stream;
SELECT count(*), min(position), max(position), max(claim) = :first AS of_first FROM millrace.consumer_streams_blocked WHERE namespace = 'claimed';

-- What was passed over comes once that claim is settled, each stream in order.
SELECT millrace.consumer_settle('billing', :second);
SELECT millrace.consumer_settle('billing', :first);
SELECT count(*), count(DISTINCT stream_name) AS streams, min(position), max(position), bool_and(position = before + 1) AS in_order
FROM (SELECT *, coalesce(lag(position) OVER (PARTITION BY stream_name ORDER BY n), 0) AS before
	FROM millrace.consumer_next('billing', 400)
		WITH ORDINALITY AS m(claim, id, stream_name, type, position, global_position, data, metadata, time, attempt, error, n)) messages;

SELECT millrace.drop_namespace('claimed');
