/*
 * load_histogram.c: latencies in buckets that are at most 1/128 wide.
 */
#define _GNU_SOURCE

#include "load.h"

static unsigned bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < (1u << SUB_BITS))
		return (unsigned)value;
	shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
	return ((shift + 1) << SUB_BITS) + (unsigned)((value >> shift) - (1u << SUB_BITS));
}

/* The middle of a bucket. */
static double bucket_value(unsigned bucket)
{
	unsigned shift = bucket >> SUB_BITS;
	double low;

	if (shift == 0)
		return bucket;
	low = (double)((uint64_t)((bucket & ((1u << SUB_BITS) - 1)) | (1u << SUB_BITS)) << (shift - 1));
	return low + (double)((UINT64_C(1) << (shift - 1)) - 1) / 2;
}

void histogram_add(struct histogram *histogram, int64_t value)
{
	if (value < 0)
		value = 0;
	histogram->buckets[bucket_of((uint64_t)value)]++;
	histogram->count++;
	histogram->sum += (double)value;
	if (value > histogram->max)
		histogram->max = value;
}

double histogram_quantile(const struct histogram *histogram, double part)
{
	uint64_t wanted = (uint64_t)(part * (double)histogram->count + 0.5);
	uint64_t seen = 0;

	for (unsigned bucket = 0; bucket < BUCKETS; bucket++)
	{
		seen += histogram->buckets[bucket];
		if (seen >= wanted && seen > 0)
			return bucket_value(bucket) / 1e6;
	}
	return 0;
}
