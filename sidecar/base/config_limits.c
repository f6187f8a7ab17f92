/*
 * config_limits.c: limits that must fit together (see config_internal.h).
 */
#include <stdio.h>

#include "base/config_internal.h"

/*
 * A request's buffer grows by doubling, so it may be twice as large as the request: where that is more than
 * there may be, a request of the allowed size would be refused as long as the server runs.
 */
bool config_check_buffer_bytes(const struct config *config)
{
	char buffer[32], body[32], header[32];

	if (config->buffer_bytes / 2 >= config->max_body + config->max_header)
		return true;
	config_format_bytes(config->buffer_bytes, buffer, sizeof(buffer));
	config_format_bytes(config->max_body, body, sizeof(body));
	config_format_bytes(config->max_header, header, sizeof(header));
	fprintf(stderr,
			"millrace: --buffer-bytes %s is too little for --max-body %s and --max-header %s: "
			"it must be at least twice both together\n",
			buffer, body, header);
	return false;
}
