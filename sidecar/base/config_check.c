/*
 * config_check.c: where settings were given, and which are right each and contradict one another (see
 * config_internal.h).
 *
 * A setting that would have no effect is refused, because it was given on purpose: a database that is served
 * without tokens, or the wrong one, costs more than a start.  One exception: a package or an image names a
 * data directory by a variable, for when no other setting chooses a database.
 */
#include <ctype.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/config_internal.h"

void config_variable_name(const char *name, char out[VARIABLE_MAX])
{
	out += sprintf(out, "MILLRACE_");
	for (; *name != '\0'; name++)
		*out++ = (char)(*name == '-' ? '_' : toupper((unsigned char)*name));
	*out = '\0';
}

enum setting_source config_source(const struct config *config, const struct command *command,
								  const char *name, char written[VARIABLE_MAX])
{
	for (size_t i = 0; i < command->nsettings; i++)
	{
		if (strcmp(command->settings[i].name, name) != 0)
			continue;
		if (config->sources[i] == SOURCE_ENVIRONMENT)
			config_variable_name(name, written);
		else
			snprintf(written, VARIABLE_MAX, "--%s", name);
		return config->sources[i];
	}
	return SOURCE_DEFAULT;
}

bool config_refuse_both(const char *first, const char *second)
{
	fprintf(stderr, "millrace: there is %s and %s: which one is meant?\n", first, second);
	return false;
}

static bool is_loopback_address(const struct sockaddr *address)
{
	const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)address;

	if (address->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&ipv6->sin6_addr);
	return address->sa_family == AF_INET && ntohl(ipv4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* Whether everything that the name of a listener stands for is reached from this machine only. */
static bool is_loopback(const char *name)
{
	struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	bool loopback = true;

	if (name == NULL || name[0] == '\0' || getaddrinfo(name, NULL, &hints, &found) != 0)
		return false;
	for (const struct addrinfo *at = found; at != NULL; at = at->ai_next)
		loopback = loopback && is_loopback_address(at->ai_addr);
	freeaddrinfo(found);
	return loopback;
}

/* A database that may hold real data is served without tokens only where a flag of its own asks for that. */
static bool check_open_database(const struct config *config, const char *test_mode, const char *database)
{
	if (!config->without_authentication)
		fprintf(
			stderr,
			"millrace: %s and %s: everybody could read, write and delete in that database without a token; "
			"leave out %s, or, if that is meant, add --without-authentication\n",
			test_mode, database, test_mode);
	else if (!is_loopback(config->listen))
		fprintf(stderr,
				"millrace: --without-authentication needs --listen with a loopback address, as 127.0.0.1, "
				"not %s\n",
				config->listen == NULL || config->listen[0] == '\0' ? "all addresses" : config->listen);
	else
		return true;
	return false;
}

static bool refuse_standbys_alone(const struct config *config, const struct command *command)
{
	char setting[VARIABLE_MAX];

	config_source(config, command,
				  config->read_database_file != NULL ? "read-database-file" : "read-database", setting);
	fprintf(stderr, "millrace: %s names the standbys of --database, which is not given\n", setting);
	return false;
}

bool config_check_postgres(const struct config *config, const struct command *command)
{
	char database[VARIABLE_MAX], data_dir[VARIABLE_MAX], test_mode[VARIABLE_MAX];
	const char *database_setting = config->database_file != NULL ? "database-file" : "database";
	enum setting_source data_dir_from = config_source(config, command, "data-dir", data_dir);
	enum setting_source test_mode_from = config_source(config, command, "test-mode", test_mode);
	bool is_flag = data_dir_from == SOURCE_FLAG;

	config_source(config, command, database_setting, database);
	if (config->database != NULL && is_flag)
		return config_refuse_both(database, data_dir);
	if (config->database == NULL && config->read_database != NULL)
		return refuse_standbys_alone(config, command);
	if (config->test_mode && config->database != NULL)
		return check_open_database(config, test_mode, database);
	if (config->test_mode && (is_flag || (data_dir_from != SOURCE_DEFAULT && test_mode_from != SOURCE_FLAG)))
		return config_refuse_both(test_mode, data_dir);
	if (!config->without_authentication)
		return true;
	fputs("millrace: --without-authentication is only for --test-mode with --database\n", stderr);
	return false;
}
