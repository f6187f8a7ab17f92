/*
 * idempotency: the header Idempotency-Key, and the ids that messages get by it.
 *
 * A client that sends a request again, as its answer was lost, with the same key, gives its messages the same
 * ids with it, without having made any.  They are of version 5 (RFC 9562): names within the name of the
 * request within a namespace of ours (README.md, "Idempotency-Key"), and are never to change.
 */
#ifndef MILLRACE_IDEMPOTENCY_H
#define MILLRACE_IDEMPOTENCY_H

#include <stdbool.h>

#include "base/slice.h"
#include "base/uuid.h"

#define IDEMPOTENCY_MAX_KEY 255 /* bytes */

/*
 * Reads the header's value: 1 to IDEMPOTENCY_MAX_KEY bytes of printable ASCII, as they are or as a quoted
 * string (RFC 9651, 3.3.3), which is the same key.  Returns its length; 0: it is none.
 */
size_t idempotency_read(struct slice header, char key[IDEMPOTENCY_MAX_KEY]);

#define IDEMPOTENCY_NO_SHA1 "an Idempotency-Key needs SHA-1, which this machine's libcrypto does not compute"

/* These return false where that is so. */
bool idempotency_request(const char *namespace_name, struct slice key, struct uuid *request);
/* Of a message: which call of a batch it is in, and which message of that call it is, both from 0. */
bool idempotency_message(const struct uuid *request, unsigned call, unsigned message, struct uuid *id);

#endif
