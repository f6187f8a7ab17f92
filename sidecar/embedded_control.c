/*
 * embedded_control: the identity of a cluster; see embedded_control.h.
 */
#include "embedded_control.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define NONCE_LEN 32
#define FIRST_CRC (sizeof(uint64_t) + NONCE_LEN)
#define POLYNOMIAL 0x82F63B78u /* CRC-32C (Castagnoli), reflected */

/* A control file is a few hundred bytes: bit by bit is fast enough. */
static uint32_t crc_add(uint32_t crc, unsigned char byte)
{
	crc ^= byte;
	for (int bit = 0; bit < 8; bit++)
		crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
	return crc;
}

size_t control_find_crc(const unsigned char *control, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t at = 0; len >= sizeof(crc) && at <= len - sizeof(crc); at++)
	{
		uint32_t found;

		memcpy(&found, control + at, sizeof(found));
		if (at >= FIRST_CRC && at % sizeof(crc) == 0 && found == ~crc)
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

bool control_agrees(const unsigned char *control, size_t crc_at, const char *report)
{
	char expected[2 * NONCE_LEN + 1], said[2 * NONCE_LEN + 1];
	uint64_t identifier;

	memcpy(&identifier, control, sizeof(identifier));
	snprintf(expected, sizeof(expected), "%" PRIu64, identifier);
	if (!read_value(report, "Database system identifier", said, sizeof(said)) || strcmp(said, expected) != 0)
		return false;
	for (size_t i = 0; i < NONCE_LEN; i++)
		snprintf(expected + 2 * i, 3, "%02x", control[crc_at - NONCE_LEN + i]);
	return read_value(report, "Mock authentication nonce", said, sizeof(said)) && strcmp(said, expected) == 0;
}

bool control_new_identity(unsigned char *control, size_t crc_at)
{
	unsigned char *nonce = control + crc_at - NONCE_LEN;
	uint64_t seconds = (uint64_t)time(NULL);
	uint32_t chance, crc = UINT32_MAX;
	uint64_t identifier;

	if (getrandom(&chance, sizeof(chance), 0) != (ssize_t)sizeof(chance) ||
		getrandom(nonce, NONCE_LEN, 0) != NONCE_LEN)
		return false;
	/* As PostgreSQL's own: the upper half is the time.  Its lower half is the microsecond and the process id, which are alike
	 * in containers that start together. */
	identifier = seconds << 32 | chance;
	memcpy(control, &identifier, sizeof(identifier));
	for (size_t at = 0; at < crc_at; at++)
		crc = crc_add(crc, control[at]);
	crc = ~crc;
	memcpy(control + crc_at, &crc, sizeof(crc));
	return true;
}
