/*
 * token: the credential that opens one namespace (README.md, "Tokens and namespaces").
 *
 * ns_ + base64url(namespace, unpadded) + _ + 64 lowercase hex digits.  Postgres keeps only
 * the SHA-256 of the whole text, in lowercase hex.
 */
#ifndef MILLRACE_TOKEN_H
#define MILLRACE_TOKEN_H

#include <stdbool.h>

#include "base/log.h"
#include "base/slice.h"

#include "extension/protocol.h"

#define TOKEN_HASH_LEN 64
#define TOKEN_SECRET_LEN LOG_HIDDEN_DIGITS
#define TOKEN_MAX_LEN (3 + (MAX_NAMESPACE_NAME * 4 + 2) / 3 + 1 + TOKEN_SECRET_LEN)

/* False when malformed.  `name` gets the namespace, NUL-terminated. */
bool token_parse(struct slice token, char name[MAX_NAMESPACE_NAME + 1]);
/* Writes a new random token for the namespace; its name must be 1 to MAX_NAMESPACE_NAME bytes. */
void token_new(struct slice name, char token[TOKEN_MAX_LEN + 1]);
/* What is stored: the lowercase hex SHA-256, NUL-terminated. */
void token_hash(struct slice token, char hash[TOKEN_HASH_LEN + 1]);
/* In a time that does not depend on where they differ: both can be measured from outside. */
bool token_equal(struct slice a, struct slice b);
bool token_hash_equal(const char *a, const char *b);

#endif
