/*
 * token_handover: how the token that a first start makes gets to its owner.
 *
 * It can't be found again, so it is handed over before it is stored: a start that fails or is stopped in
 * between leaves a namespace without a token, and the next start makes another.
 */
#ifndef MILLRACE_TOKEN_HANDOVER_H
#define MILLRACE_TOKEN_HANDOVER_H

#include <stdbool.h>

#include "base/buf.h"

struct config;

/* Whether --new-token-file can be written, if the first start is to write it; false: *error says why not. */
bool token_can_be_handed_over(const struct config *config, struct buf *error);
/*
 * Writes the token to --new-token-file, durably, or shows it on the standard output; false: *error says why
 * not.
 */
bool token_hand_over(const struct config *config, const char *token, struct buf *error);

#endif
