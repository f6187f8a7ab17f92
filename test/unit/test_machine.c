/*
 * test_machine.c: what control groups allow, from files as they are in containers.
 */
#include "serve/machine.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#define MB (1024.0 * 1024)
#define MOUNT_V2 "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup rw,nsdelegate\n"
#define MOUNT_MEMORY(root) "35 31 0:32 " root " /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
#define MOUNT_CPU(root) "32 31 0:29 " root " /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"

static char root[64];

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	return remove(path);
}

static int make_root(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/millrace-unit-XXXXXX");
	return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
	(void)state;
	return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s%s", root, name);
	for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++)
	{
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void be_in(const char *groups, const char *mounts)
{
	write_file("/proc/self/cgroup", groups);
	write_file("/proc/self/mountinfo", mounts);
}

static void expect(double mb, double processors, bool limited)
{
	struct machine machine = {.memory = 8192 * 1024ull * 1024, .processors = 8};

	machine_limit(&machine, root);
	assert_true((double)machine.memory / MB == mb);
	assert_true(machine.processors == processors);
	assert_true(machine.limited == limited);
}

static void test_without_groups_it_is_the_machine(void **state)
{
	(void)state;
	expect(8192, 8, false);
	be_in("0::/\n", "23 1 8:1 / / rw - ext4 /dev/sda1 rw\nnonsense\n");
	expect(8192, 8, false);
}

static void test_version_2_in_a_namespace_of_its_own(void **state)
{
	(void)state;
	be_in("0::/\n", MOUNT_V2);
	write_file("/sys/fs/cgroup/memory.max", "335544320\n");
	write_file("/sys/fs/cgroup/cpu.max", "150000 100000\n");
	expect(320, 1.5, true);
	write_file("/sys/fs/cgroup/memory.high", "268435456\n");
	expect(256, 1.5, true);
}

static void test_no_limit_is_none(void **state)
{
	(void)state;
	be_in("0::/a\n5:memory:/b\n4:cpu,cpuacct:/c\n", MOUNT_V2 MOUNT_MEMORY("/") MOUNT_CPU("/"));
	write_file("/sys/fs/cgroup/a/memory.max", "max\n");
	write_file("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
	write_file("/sys/fs/cgroup/memory/b/memory.limit_in_bytes", "9223372036854771712\n");
	write_file("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "-1\n");
	write_file("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000\n");
	expect(8192, 8, false);
}

static void test_a_limit_counts_for_all_below_it(void **state)
{
	(void)state;
	be_in("0::/kubepods.slice/pod1/container\n", MOUNT_V2);
	write_file("/sys/fs/cgroup/kubepods.slice/memory.max", "1073741824\n");
	write_file("/sys/fs/cgroup/kubepods.slice/cpu.max", "50000 100000\n");
	write_file("/sys/fs/cgroup/kubepods.slice/pod1/memory.max", "536870912\n");
	write_file("/sys/fs/cgroup/kubepods.slice/pod1/container/memory.max", "max\n");
	write_file("/sys/fs/cgroup/kubepods.slice/pod2/memory.max", "1048576\n"); /* a neighbour */
	expect(512, 0.5, true);
}

static void test_version_1_as_the_host_sees_it(void **state)
{
	(void)state;
	be_in("9:name=systemd:/docker/1f\n4:memory:/docker/1f\n3:cpuset:/docker/1f\n1:cpu,cpuacct:/docker/"
		  "1f\n0::/\n",
		  MOUNT_MEMORY("/docker/1f") MOUNT_CPU("/docker/1f"));
	write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "335544320\n");
	write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
	write_file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
	expect(320, 2.5, true);
}

static void test_a_path_from_another_view_means_what_is_mounted(void **state)
{
	(void)state;
	be_in("4:memory:/../other\n0::/\n", MOUNT_MEMORY("/here"));
	write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "335544320\n");
	expect(320, 8, true);
}

static void test_a_group_whose_name_only_begins_alike_is_another(void **state)
{
	(void)state;
	be_in("4:memory:/docker/1ff\n", MOUNT_MEMORY("/docker/1f"));
	write_file("/sys/fs/cgroup/memoryf/memory.limit_in_bytes", "1048576\n");
	write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "335544320\n");
	expect(320, 8, true);
}

static void test_the_machine_has_something(void **state)
{
	struct machine machine;

	(void)state;
	machine_look(&machine);
	assert_true(machine.memory > (uint64_t)16 * 1024 * 1024 && machine.processors > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)
		IN_ROOT(test_without_groups_it_is_the_machine),
		IN_ROOT(test_version_2_in_a_namespace_of_its_own),
		IN_ROOT(test_no_limit_is_none),
		IN_ROOT(test_a_limit_counts_for_all_below_it),
		IN_ROOT(test_version_1_as_the_host_sees_it),
		IN_ROOT(test_a_path_from_another_view_means_what_is_mounted),
		IN_ROOT(test_a_group_whose_name_only_begins_alike_is_another),
		cmocka_unit_test(test_the_machine_has_something),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
