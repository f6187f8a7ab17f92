/*
 * embedded_identity: what makes a cluster this cluster and no other; see embedded_identity.h.
 */
#include "serve/embedded_identity.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

#define ID_LEN sizeof(uint64_t)
#define NONCE_LEN 32
#define LOG_HEAD_LEN 64
#define POLYNOMIAL 0x82F63B78u /* CRC-32C (Castagnoli), reflected */

/* A control file is a few hundred bytes: bit by bit is fast enough. */
static uint32_t crc_add(uint32_t crc, unsigned char byte)
{
	crc ^= byte;
	for (int bit = 0; bit < 8; bit++)
		crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
	return crc;
}

/* 0: nowhere. */
static size_t find_crc(const unsigned char *control, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t at = 0; len >= sizeof(crc) && at <= len - sizeof(crc); at++)
	{
		uint32_t found;

		memcpy(&found, control + at, sizeof(found));
		if (at >= ID_LEN && at % sizeof(crc) == 0 && found == ~crc)
			return at;
		crc = crc_add(crc, control[at]);
	}
	return 0;
}

/* Finds "LABEL:   VALUE" and writes the value. */
static bool read_value(const char *report, const char *label, char *value, size_t size)
{
	const char *line = strstr(report, label);
	size_t len;

	if (line == NULL)
		return false;
	line += strlen(label);
	line += strspn(line, ": ");
	len = strcspn(line, "\n");
	if (len >= size)
		return false;
	memcpy(value, line, len);
	value[len] = '\0';
	return true;
}

size_t identity_find_nonce(const unsigned char *control, size_t len, const char *report)
{
	char value[2 * NONCE_LEN + 1];
	unsigned char nonce[NONCE_LEN];
	const unsigned char *found;

	if (!read_value(report, "Mock authentication nonce", value, sizeof(value)) ||
		strlen(value) != (size_t)2 * NONCE_LEN)
		return 0;
	for (size_t i = 0; i < NONCE_LEN; i++)
	{
		unsigned byte;

		if (sscanf(value + 2 * i, "%2x", &byte) != 1)
			return 0;
		nonce[i] = (unsigned char)byte;
	}
	found = memmem(control, len, nonce, NONCE_LEN);
	return found == NULL ? 0 : (size_t)(found - control);
}

bool identity_find(struct identity *identity, unsigned char *control, size_t control_len, size_t nonce_at,
				   unsigned char *log, size_t log_len)
{
	identity->control = control;
	identity->crc_at = find_crc(control, control_len);
	if (nonce_at < ID_LEN || identity->crc_at < NONCE_LEN || nonce_at > identity->crc_at - NONCE_LEN)
		return false;
	identity->nonce = control + nonce_at;
	identity->log = memmem(log, log_len < LOG_HEAD_LEN ? log_len : LOG_HEAD_LEN, control, ID_LEN);
	return identity->log != NULL;
}

bool identity_agrees(const struct identity *identity, const char *report)
{
	char expected[32], said[32];
	uint64_t number;

	memcpy(&number, identity->control, ID_LEN);
	snprintf(expected, sizeof(expected), "%" PRIu64, number);
	return read_value(report, "Database system identifier", said, sizeof(said)) &&
		   strcmp(said, expected) == 0;
}

bool identity_renew(const struct identity *identity)
{
	uint32_t chance, crc = UINT32_MAX;
	uint64_t number;

	if (getrandom(&chance, sizeof(chance), 0) != (ssize_t)sizeof(chance) ||
		getrandom(identity->nonce, NONCE_LEN, 0) != NONCE_LEN)
		return false;
	/*
	 * As in those that PostgreSQL makes, the upper half is the time.  Its lower half is made of microseconds
	 * and process id, which are alike in containers that start together.
	 */
	number = (uint64_t)clock_calendar().tv_sec << 32 | chance;
	memcpy(identity->control, &number, ID_LEN);
	memcpy(identity->log, &number, ID_LEN);
	for (size_t at = 0; at < identity->crc_at; at++)
		crc = crc_add(crc, identity->control[at]);
	crc = ~crc;
	memcpy(identity->control + identity->crc_at, &crc, sizeof(crc));
	return true;
}
