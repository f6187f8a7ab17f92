/*
 * certificate: that of the public listener, read at the start and again on SIGHUP; net/tls.h has the rest.
 */
#ifndef MILLRACE_CERTIFICATE_H
#define MILLRACE_CERTIFICATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct config;
struct tls;

/*
 * Reads the files of --tls-cert and --tls-key; *tls stays as it is when neither is given.  False: *error says
 * what is wrong with which of them.
 */
bool certificate_read(const struct config *config, struct tls **tls, struct buf *error);
/* Reads them again, for connections to come, and logs what came of it; `tls` NULL: there is none. */
void certificate_reload(const struct config *config, struct tls *tls);

struct certificate_facts
{
	int64_t expires, loaded; /* s since 1970: when it ends; when it was read */
	bool reload_failed;		 /* the last certificate_reload() */
};

struct certificate_facts certificate_facts(const struct tls *tls);

#endif
