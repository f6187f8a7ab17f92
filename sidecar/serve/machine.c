/*
 * machine: what this process may use; see machine.h.
 *
 * /proc/self/cgroup says in which groups we are, /proc/self/mountinfo where their files are.  In a container
 * both may be told from the host's view, with only our own group's folder mounted: then what the mount shows
 * stands for the path before it.
 */
#include "serve/machine.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"

#define DEFAULT_WORKERS_MAX 4

/* Where the files of a group's hierarchy are. */
struct mount
{
	const char *root, *point; /* what of the hierarchy it shows, and where */
	const char *type, *options;
};

static void allow_memory(struct machine *machine, double bytes)
{
	if (bytes <= 0 || bytes >= (double)machine->memory)
		return;
	machine->memory = (uint64_t)bytes;
	machine->limited = true;
}

static void allow_processors(struct machine *machine, double quota, double period)
{
	if (quota <= 0 || period <= 0 || quota / period >= machine->processors)
		return;
	machine->processors = quota / period;
	machine->limited = true;
}

/* At most two numbers of a file; how many there are.  "max", no limit, is none. */
static int read_numbers(const char *folder, const char *name, double numbers[2])
{
	char path[PATH_MAX + 64];
	int count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	count = fscanf(file, "%lf %lf", &numbers[0], &numbers[1]);
	fclose(file);
	return count > 0 ? count : 0;
}

/* What one group says.  Of the files of both versions it has those that it has. */
static void look_at_group(struct machine *machine, const char *folder)
{
	static const char *const memory[] = {"memory.max", "memory.high", "memory.limit_in_bytes"};
	double numbers[2], period[2];

	for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]); i++)
	{
		if (read_numbers(folder, memory[i], numbers) >= 1)
			allow_memory(machine, numbers[0]);
	}
	if (read_numbers(folder, "cpu.max", numbers) == 2)
		allow_processors(machine, numbers[0], numbers[1]);
	if (read_numbers(folder, "cpu.cfs_quota_us", numbers) >= 1 &&
		read_numbers(folder, "cpu.cfs_period_us", period) >= 1)
		allow_processors(machine, numbers[0], period[0]);
}

/* A limit counts for all below it. */
static void look_upwards(struct machine *machine, const char *root, const char *point, const char *path)
{
	char folder[PATH_MAX];
	size_t top = strlen(root) + strlen(point);

	if (snprintf(folder, sizeof(folder), "%s%s%s", root, point, path) >= (int)sizeof(folder))
		return;
	for (;;)
	{
		look_at_group(machine, folder);
		if (strlen(folder) <= top)
			return;
		*strrchr(folder, '/') = '\0';
	}
}

/* The part of a group's path that the mount's folder has; "" is that folder itself. */
static const char *path_in_mount(const char *path, const char *root)
{
	size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);

	if (strncmp(path, root, len) != 0 || (path[len] != '/' && path[len] != '\0') ||
		strstr(path, "/..") != NULL)
		return ""; /* told from another view than ours */
	return strcmp(path + len, "/") == 0 ? "" : path + len;
}

static bool has_word(const char *list, const char *word, size_t len)
{
	for (; *list != '\0'; list += strcspn(list, ","), list += *list == ',')
	{
		if (strcspn(list, ",") == len && strncmp(list, word, len) == 0)
			return true;
	}
	return false;
}

/* Splits a line of mountinfo, which it changes; false: it is no mount of groups. */
static bool parse_mount(char *line, struct mount *mount)
{
	char *rest = strstr(line, " - "), *save;

	if (rest == NULL)
		return false;
	*rest = '\0';
	for (int skipped = 0; skipped < 3; skipped++)
		strtok_r(skipped == 0 ? line : NULL, " ", &save);
	mount->root = strtok_r(NULL, " ", &save);
	mount->point = strtok_r(NULL, " ", &save);
	mount->type = strtok_r(rest + strlen(" - "), " ", &save);
	strtok_r(NULL, " ", &save); /* the source */
	mount->options = strtok_r(NULL, " \n", &save);
	return mount->root != NULL && mount->point != NULL && mount->options != NULL &&
		   (strcmp(mount->type, "cgroup") == 0 || strcmp(mount->type, "cgroup2") == 0);
}

/*
 * The groups of a line of /proc/self/cgroup, "ID:CONTROLLERS:PATH"; without controllers it is version 2's.
 */
static void look_at_line(struct machine *machine, const char *root, char *line, const struct mount *mount)
{
	char *controllers = strchr(line, ':');
	char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');

	if (path == NULL)
		return;
	controllers++;
	path++;
	path[strcspn(path, "\n")] = '\0';
	if (*controllers == ':' ? strcmp(mount->type, "cgroup2") != 0
							: strcmp(mount->type, "cgroup") != 0 ||
								  !has_word(mount->options, controllers, strcspn(controllers, ",:")))
		return;
	look_upwards(machine, root, mount->point, path_in_mount(path, mount->root));
}

static FILE *open_own(const char *root, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/proc/self/%s", root, name);
	return fopen(path, "re");
}

void machine_limit(struct machine *machine, const char *root)
{
	FILE *mounts = open_own(root, "mountinfo");
	FILE *groups = open_own(root, "cgroup");
	char *line = NULL, *group = NULL;
	size_t line_size = 0, group_size = 0;
	struct mount mount;

	while (mounts != NULL && groups != NULL && getline(&line, &line_size, mounts) > 0)
	{
		if (!parse_mount(line, &mount))
			continue;
		rewind(groups);
		while (getline(&group, &group_size, groups) > 0)
			look_at_line(machine, root, group, &mount);
	}
	free(line);
	free(group);
	if (mounts != NULL)
		fclose(mounts);
	if (groups != NULL)
		fclose(groups);
}

void machine_look(struct machine *machine)
{
	cpu_set_t usable; /* what taskset and cpuset leave us */
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (sched_getaffinity(0, sizeof(usable), &usable) == 0)
		cores = CPU_COUNT(&usable);
	*machine = (struct machine){
		.memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE),
		.processors = (double)cores,
	};
	machine_limit(machine, "");
}

/*
 * Half the cores: Postgres needs the others.  And the fewer the workers, the larger the batches, each of
 * which pays for a transaction and a flush: on two cores one worker did 1.2 to 1.8 times the durable appends
 * of two (bench/README.md).
 */
unsigned machine_workers(const struct config *config)
{
	struct machine machine;

	machine_look(&machine);
	if (machine.limited)
		log_info("this container may use %llu MB of memory and %.3g processors",
				 (unsigned long long)machine.memory / 1024 / 1024, machine.processors);
	if (config->workers > 0)
		return (unsigned)config->workers;
	if (machine.processors < 4)
		return 1;
	return machine.processors / 2 < DEFAULT_WORKERS_MAX ? (unsigned)(machine.processors / 2)
														: DEFAULT_WORKERS_MAX;
}
