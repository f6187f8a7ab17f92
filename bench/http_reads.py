"""What can be read over HTTP in a second."""
from measure import STREAMS, at_least, load, medians, row, serve_durable, sql

FILL = f"""SELECT count(millrace.append_messages('load-' || s, ARRAY(
        SELECT ROW('Loaded', jsonb_build_object('n', 10000000000 + n, 'text', repeat('x', 273)),
                   NULL, NULL)::millrace.new_message
        FROM generate_series(1, 100) n)))
    FROM generate_series(0, {STREAMS} - 1) s"""


def measure(options):
    with serve_durable() as server:
        connection = server.postgres()
        for _ in range(10):
            sql(connection, FILL)
        sql(connection, "VACUUM ANALYZE")
        sql(connection, "CHECKPOINT")

        def side(workers, *arguments):
            return lambda: load(server, workers, options.seconds, "--mix", "0:1", *arguments)["throughput"]

        found = medians(options.rounds, stream=side(64), category=side(10, "--category", 99000))
    return {
        "title": "Reads over HTTP",
        "about": "100,000 messages of 300 bytes in 100 streams of one category; `category.get` from a random position.",
        "columns": ["what", "workers", "answers/s"], "rows": [
            row("`stream.get` of 10", 64, found["stream"],
                checks=[at_least("stream.get of 10, 64 workers: /s", found["stream"], 30000)]),
            row("`category.get` of 1000", 10, found["category"],
                checks=[at_least("category.get of 1000: /s", found["category"], 500)])
        ]
    }
