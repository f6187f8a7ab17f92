/*
 * db_hosts: see hosts.h.
 */
#include "db/hosts.h"

#include "db/db.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_S 10
#define CONNECT_TIMEOUT_MAX_S 3600

/* Of a list with commas, the part with that number; its last one when there are fewer. */
struct part
{
	const char *text;
	size_t len;
};

static struct part part_of(const char *list, unsigned number)
{
	const char *at = list, *comma;

	while (number-- > 0 && (comma = strchr(at, ',')) != NULL)
		at = comma + 1;
	return (struct part){at, strcspn(at, ",")};
}

static unsigned count_parts(const char *list)
{
	unsigned count = 1;

	while ((list = strchr(list, ',')) != NULL)
	{
		list++;
		count++;
	}
	return count;
}

static bool is_part(const char *list, unsigned number, const char *text)
{
	struct part part = part_of(list, number);

	return strlen(text) == part.len && memcmp(part.text, text, part.len) == 0;
}

/*
 * A copy that begins with the part of that number, what was before it behind; NULL: there is nothing to turn,
 * or no memory.
 */
static char *turned(const char *list, unsigned first)
{
	size_t before = (size_t)(part_of(list, first).text - list), len = strlen(list);
	char *copy;

	if (before == 0 || count_parts(list) <= first || (copy = malloc(len + 2)) == NULL)
		return NULL;
	memcpy(copy, list + before, len - before);
	copy[len - before] = ',';
	memcpy(copy + len - before + 1, list, before - 1); /* without its comma */
	copy[len] = '\0';
	return copy;
}

/* Never NULL. */
static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
	for (; options != NULL && options->keyword != NULL; options++)
	{
		if (strcmp(options->keyword, keyword) == 0)
			return options->val != NULL ? options->val : "";
	}
	return "";
}

static void turn(char **kept, const char *list, unsigned first)
{
	char *copy = turned(list, first);

	if (copy == NULL)
		return;
	free(*kept);
	*kept = copy;
}

void db_hosts_next(struct db_hosts *hosts, PGconn *failed)
{
	PQconninfoOption *options = PQconninfo(failed); /* the service file and the environment count, too */
	const char *host = value_of(options, "host"), *address = value_of(options, "hostaddr");
	const char *port = value_of(options, "port");
	unsigned count = count_parts(address[0] != '\0' ? address : host), at = 0;

	while (at < count && !((is_part(host, at, PQhost(failed)) || is_part(address, at, PQhost(failed))) &&
						   (part_of(port, at).len == 0 || is_part(port, at, PQport(failed)))))
		at++;
	if (at < count)
	{
		unsigned first = (at + 1) % count;

		turn(&hosts->host, host, first);
		turn(&hosts->hostaddr, address, first);
		turn(&hosts->port, port, first);
	}
	PQconninfoFree(options);
}

void db_hosts_free(struct db_hosts *hosts)
{
	free(hosts->host);
	free(hosts->hostaddr);
	free(hosts->port);
	*hosts = (struct db_hosts){0};
}

unsigned db_connect_timeout(PGconn *pg)
{
	PQconninfoOption *options = PQconninfo(pg);
	long seconds = strtol(value_of(options, "connect_timeout"), NULL, 10);

	PQconninfoFree(options);
	if (seconds <= 0)
		seconds = CONNECT_TIMEOUT_S;
	return 1000U * (unsigned)(seconds < CONNECT_TIMEOUT_MAX_S ? seconds : CONNECT_TIMEOUT_MAX_S);
}

/* The environment does not count: it is another one where the string is used by a cluster. */
bool db_may_lead_to_standby(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	const char *session = value_of(options, "target_session_attrs");
	bool several = strchr(value_of(options, "host"), ',') || strchr(value_of(options, "hostaddr"), ',');
	bool may = several && strcmp(session, "read-write") != 0 && strcmp(session, "primary") != 0;

	PQconninfoFree(options);
	return may;
}

/*
 * libpq alone knows what a connection string, the environment and a service file come to together.  It tells
 * of a connection that it refuses to begin, too, as one with such an sslmode.
 */
bool db_names_several_hosts(const char *conninfo)
{
	static const char *const keywords[] = {"dbname", "sslmode", NULL};
	const char *const values[] = {conninfo, "none", NULL};
	PGconn *refused = PQconnectStartParams(keywords, values, 1);
	PQconninfoOption *options = PQconninfo(refused);
	bool several = false;

	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++)
	{
		if (strncmp(option->keyword, "host", 4) == 0 && option->val != NULL &&
			strchr(option->val, ',') != NULL)
			several = true;
	}
	PQconninfoFree(options);
	PQfinish(refused);
	return several;
}
