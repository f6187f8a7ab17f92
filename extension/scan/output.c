/*
 * output.c: messages to the client, gathered and sent in large pieces.
 *
 * Postgres copies what it sends into a buffer of 8 kB, each of which is a system call here and wakes the
 * client up.  What is gathered here goes to the socket from where it was made.  A few rows go through that
 * buffer all the same, to be sent with the messages around them.
 *
 * The memory is the session's: to ask the kernel for a MiB for each page takes as long as to fill it.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"

/*
 * The header of connections includes those of OpenSSL and GSSAPI, which need not be installed to build an
 * extension.  A connection is only passed on here, so what it looks like then does not matter.
 */
#pragma push_macro("USE_OPENSSL")
#pragma push_macro("ENABLE_GSS")
#undef USE_OPENSSL
#undef ENABLE_GSS
#include "libpq/libpq.h"
#pragma pop_macro("USE_OPENSSL")
#pragma pop_macro("ENABLE_GSS")

#include "scan/scan.h"

#define MESSAGE_HEAD 5 /* a letter, and the length of what comes from there on */
#define PIECE 65536	   /* as much is sent when a message has ended */
#define MIN_PIECE 16384
#define MEMORY_KEPT (2 * 1024 * 1024)

static StringInfoData output;

/* Gives memory back where there is more than is usually needed. */
static void
Trim(void)
{
	if (!output.data || output.maxlen <= MEMORY_KEPT)
		return;
	pfree(output.data);
	output.data = NULL;
}

/* Begins anew; what an error has left is dropped.  Messages are written to the end of what is returned. */
StringInfo
OutputBegin(void)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	Trim();
	if (output.data)
		resetStringInfo(&output);
	else
		initStringInfo(&output);
	MemoryContextSwitchTo(caller);
	return &output;
}

/* Sends all through Postgres's own buffer. */
static void
PutMessages(void)
{
	const char *end = output.data + output.len;
	const char *message = output.data;

	while (message < end)
	{
		uint32 len;

		memcpy(&len, message + 1, sizeof(len));
		len = pg_ntoh32(len) - sizeof(len);
		(void)pq_putmessage(message[0], message + MESSAGE_HEAD, len);
		message += MESSAGE_HEAD + len;
	}
}

/* Sends all past that buffer, as Postgres sends what is in it: a client that is lost ends the session. */
static void
WriteMessages(void)
{
	char *end = output.data + output.len;
	char *place = output.data;

	while (place < end)
	{
		ssize_t sent = secure_write(MyProcPort, place, end - place);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
		{
			ereport(COMMERROR, (errcode_for_socket_access(), errmsg("could not send data to client: %m")));
			ClientConnectionLost = 1;
			InterruptPending = 1;
			return;
		}
		place += sent;
	}
}

static void
Send(void)
{
	if (output.len < MIN_PIECE || !MyProcPort) /* a background worker's client is no socket */
		PutMessages();
	else if (pq_flush() == 0)
		WriteMessages();
	output.len = 0;
}

/* Begins a message; returns what OutputEndMessage() wants. */
int
OutputBeginMessage(char letter)
{
	int start = output.len;

	enlargeStringInfo(&output, MESSAGE_HEAD);
	output.data[start] = letter;
	output.len += MESSAGE_HEAD;
	return start;
}

void
OutputEndMessage(int start)
{
	uint32 len = pg_hton32((uint32)(output.len - start - 1));

	memcpy(output.data + start + 1, &len, sizeof(len));
	if (output.len >= PIECE)
		Send();
}

/* Sends what is left. */
void
OutputEnd(void)
{
	Send();
	Trim();
}
