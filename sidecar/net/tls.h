/*
 * tls: the certificate of the public listener, and what its connections are made from.
 *
 * One SSL_CTX serves all workers, so a ticket that one of them gave away resumes a session on any other.
 * tls_reload replaces it; connections keep the one they began with.
 */
#ifndef MILLRACE_TLS_H
#define MILLRACE_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct ssl_st;
struct tls;

/*
 * Both are names of PEM files, and must outlive it; the chain may follow the certificate.  NULL: *error names
 * the flag, the file and the reason.
 */
struct tls *tls_new(const char *certificate, const char *key, struct buf *error);
/* Reads both files again, for connections to come; false: *error says why, and all stays as it was. */
bool tls_reload(struct tls *tls, struct buf *error);
struct tls_facts
{
	int64_t expires, loaded; /* s since 1970: when the certificate ends; when it was read */
	bool reload_failed;		 /* the last one, and since then none */
};

struct tls_facts tls_facts(const struct tls *tls);
void tls_free(struct tls *tls); /* NULL is allowed */

/* The server's side of a new connection on a nonblocking socket; NULL: out of memory.  From any thread. */
struct ssl_st *tls_accept(struct tls *tls, int fd);

/* Why the last call into OpenSSL of this thread failed; for log lines and errors. */
const char *tls_reason(void);

#endif
