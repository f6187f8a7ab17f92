/*
 * purge.c: `millrace purge`.
 */
#include <stdio.h>

#include "base/config.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/internal.h"

/* Prints an array of texts, each on a line of its own. */
static void print_texts(const char *title, struct slice array)
{
	struct json_iterator iterator;
	struct slice value;
	struct buf text = {0};

	if (json_kind(array) != JSON_ARRAY)
		return;
	json_iterate(&iterator, array);
	for (bool first = true; json_next_element(&iterator, &value); first = false)
	{
		buf_clear(&text);
		cli_decode(value, &text);
		if (first)
			puts(title);
		printf("  %.*s\n", (int)text.len, text.data ? text.data : "");
	}
	buf_free(&text);
}

int cli_purge(const struct config *config)
{
	struct buf body = {0}, result = {0};
	struct cli_http http = {.fd = -1};
	bool done;

	buf_add_str(&body, "[\"ns.purge\",");
	json_add_string(&body, config->namespace_name, strlen(config->namespace_name));
	buf_add_str(&body, config->full ? ",{\"full\":true}]" : "]");
	done = cli_call(&http, config, (struct slice){body.data, body.len}, &result);
	if (done)
	{
		struct slice answer = json_trim((struct slice){result.data, result.len});

		print_texts("Done:", cli_member(answer, "done"));
		print_texts("Left:", cli_member(answer, "left"));
	}
	buf_free(&body);
	buf_free(&result);
	return cli_exit_code(&http, done);
}
