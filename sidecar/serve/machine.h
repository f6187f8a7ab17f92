/*
 * machine: how much memory and how many processors this process may use.
 *
 * In a container that is less than the machine has: control groups (cgroups(7), both versions) limit it, and
 * a process that uses as much as the machine has is killed.
 */
#ifndef MILLRACE_MACHINE_H
#define MILLRACE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

struct config;

struct machine
{
	uint64_t memory;   /* bytes */
	double processors; /* may be a fraction: a share of their time */
	bool limited;	   /* control groups allow less than there is */
};

/* The least of what there is and what every group of this process, and every one above it, allows. */
void machine_look(struct machine *machine);
/*
 * Lowers what is known of it to what groups allow whose files, /proc/self included, are below the folder
 * `root`.
 */
void machine_limit(struct machine *machine, const char *root);

/* How many workers a server has: --workers, or as many as suit the processors; logs what limits it. */
unsigned machine_workers(const struct config *config);

#endif
