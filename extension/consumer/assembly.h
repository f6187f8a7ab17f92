/*
 * assembly.h: what a claim is put together of (assembly.c), shared with next.c.
 */
#ifndef MILLRACE_CONSUMER_ASSEMBLY_H
#define MILLRACE_CONSUMER_ASSEMBLY_H

#include "postgres.h"

#include "utils/hsearch.h"

#include "consumer/consumer.h"

typedef struct Assembly
{
	ConsumerWork *work;
	MemoryContext context; /* the call's */
	HTAB *claimed;		   /* hashes of the streams in open claims; NULL: there are none */
	bool parked;		   /* there are parked streams */
	int room;			   /* messages that may be added */
	int64 bytes_room;
	int64 bytes;
	Delivered *messages;
	int nmessages;
	StreamRow *row; /* whose messages are being added; NULL: those of the log */
	HTAB *streams;	/* those of the claim, by their hashes: ClaimedStream */
	int64 ceiling;
	int waiting;  /* streams that have rows and are not parked */
	bool blocked; /* the scan came to what it may not pass */
} Assembly;

typedef struct ClaimedStream
{
	uint64 hash; /* key */
	int64 claim;
} ClaimedStream;

typedef struct NewSpan
{
	uint64 hash; /* key */
	text *stream;
	int64 global_position;
	int64 last; /* position */
	int count;
} NewSpan;

extern void AssemblyBegin(Assembly *claim, ConsumerWork *work, const NextRequest *request);
extern void AssemblyFill(Assembly *claim, int max);
extern void AssemblyCopyMessage(const Message *from, Message *to);

#endif
