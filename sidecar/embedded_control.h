/*
 * embedded_control: the identity of a cluster, in a copy of its control file (global/pg_control).
 *
 * Every server version keeps the cluster's identifier in the first eight bytes, and ends what it keeps with the nonce
 * for failed logins (32 bytes) and a CRC-32C of all before it.  What lies between differs, so the CRC is searched: it is
 * where the checksum of the bytes before it stands.
 */
#ifndef MILLRACE_EMBEDDED_CONTROL_H
#define MILLRACE_EMBEDDED_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

/* Where the CRC is; 0: nowhere, so this is no control file as described above. */
size_t control_find_crc(const unsigned char *control, size_t len);
/* Whether `report`, the output of pg_controldata, names the identifier and the nonce where we take them to be. */
bool control_agrees(const unsigned char *control, size_t crc_at, const char *report);
/* Gives the control file an identifier and a nonce that no other cluster has; false: the kernel has no random bytes. */
bool control_new_identity(unsigned char *control, size_t crc_at);

#endif
