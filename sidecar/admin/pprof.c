/*
 * admin_pprof: /debug/pprof, profiles in the formats of gperftools, which google-pprof reads.
 *
 * The CPU profiler is a library that is loaded by the first request for a profile: the kernel's timer for CPU
 * time then signals whichever thread is running, 100 times a second.  It writes to memory that has a
 * file name.  One profile at a time, because there is one timer a process.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "admin/internal.h"
#include "admin/allocations.h"
#include "base/url_query.h"

#define PROFILER "libprofiler.so.0"
#define DEFAULT_SECONDS 30
#define MAX_SECONDS 300
#define BINARY "application/octet-stream"

struct profiler
{
	int (*start)(const char *path);
	void (*stop)(void);
};

/* A CPU profile that is being taken. */
struct admin_profile
{
	struct admin *admin;
	struct http_request *request;
	struct event *over;
	struct profiler profiler;
	int fd; /* the profile */
};

/* ---- CPU --------------------------------------------------------------------- */

/* False: it is not installed.  Once loaded it stays, as its signals may still be on their way. */
static bool load_profiler(struct profiler *profiler)
{
	void *library = dlopen(PROFILER, RTLD_NOW);

	if (library == NULL)
		return false;
	/* POSIX's way to get a function out of a void pointer. */
	*(void **)&profiler->start = dlsym(library, "ProfilerStart");
	*(void **)&profiler->stop = dlsym(library, "ProfilerStop");
	return profiler->start != NULL && profiler->stop != NULL;
}

static void profile_free(struct admin_profile *profile)
{
	if (profile->over != NULL)
		event_free(profile->over);
	if (profile->fd >= 0)
		close(profile->fd);
	profile->admin->profile = NULL;
	free(profile);
}

/* False: it is empty, or could not be read. */
static bool read_profile(const struct admin_profile *profile, struct buf *out)
{
	char part[16384];
	ssize_t got;

	while ((got = pread(profile->fd, part, sizeof(part), (off_t)out->len)) > 0 && !out->failed)
		buf_add(out, part, (size_t)got);
	return got == 0 && out->len > 0;
}

/* Ends the profile and replies with it; if the client is gone, the reply goes nowhere. */
static void end_profile(struct admin_profile *profile)
{
	struct http_request *request = profile->request;
	struct buf bytes = {0};
	bool ok;

	profile->profiler.stop();
	ok = read_profile(profile, &bytes);
	profile_free(profile);
	if (ok)
		admin_reply(request, BINARY, &bytes);
	else
		admin_refuse(request, 500, "the profile could not be read");
	buf_free(&bytes);
}

static void on_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	end_profile(arg);
}

static void on_gone(void *arg)
{
	end_profile(arg);
}

static bool start_profiler(const struct admin_profile *profile)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", profile->fd);
	return profile->fd >= 0 && profile->profiler.start(path) != 0;
}

static void profile_start(struct admin *admin, struct http_request *request, const struct profiler *profiler,
						  int seconds)
{
	const struct timeval time = {.tv_sec = seconds};
	struct admin_profile *profile = calloc(1, sizeof(*profile));

	if (profile == NULL)
	{
		admin_refuse(request, 500, "out of memory");
		return;
	}
	*profile = (struct admin_profile){.admin = admin, .request = request, .profiler = *profiler};
	admin->profile = profile;
	profile->fd = memfd_create("cpu.prof", MFD_CLOEXEC);
	profile->over = evtimer_new(admin->inquirer.base, on_over, profile);
	if (profile->over == NULL || !start_profiler(profile))
	{
		profile_free(profile);
		admin_refuse(request, 500, "the profiler could not be started");
		return;
	}
	event_add(profile->over, &time);
	http_reply_when_gone(request, on_gone, profile);
}

/* False: it is none that is allowed, and that was replied. */
static bool read_seconds(struct http_request *request, int *seconds)
{
	struct buf text = {0};
	char *end;
	long number = DEFAULT_SECONDS;
	bool ok = true;

	if (url_query_find(http_query(request), "seconds", &text))
	{
		buf_add(&text, "", 1);
		number = text.failed ? 0 : strtol(text.data, &end, 10);
		ok = number >= 1 && number <= MAX_SECONDS && end + 1 == text.data + text.len;
	}
	buf_free(&text);
	*seconds = (int)number;
	if (!ok)
		admin_refuse(request, 400, "seconds must be a whole number from 1 to %d", MAX_SECONDS);
	return ok;
}

void admin_pprof_profile(struct admin *admin, struct http_request *request)
{
	struct profiler profiler;
	int seconds;

	if (!read_seconds(request, &seconds))
		return;
	if (admin->profile != NULL)
		admin_refuse(request, 409, "a profile is being taken; one at a time");
	else if (!load_profiler(&profiler))
		admin_refuse(request, 501, "a CPU profile needs %s: install the package libgoogle-perftools4",
					 PROFILER);
	else
		profile_start(admin, request, &profiler, seconds);
}

/* ---- memory ------------------------------------------------------------------- */

static void reply_allocations(struct http_request *request, enum allocations which)
{
	struct buf profile = {0};

	if (!allocations_profile(&profile, which))
		admin_refuse(
			request, 501,
			"this build does not record allocations; make -C sidecar PROFILE=1 builds one that does, "
			"sidecar/build-profile/millrace");
	else
		admin_reply(request, BINARY, &profile);
	buf_free(&profile);
}

void admin_pprof_heap(struct admin *admin, struct http_request *request)
{
	(void)admin;
	reply_allocations(request, ALLOCATIONS_IN_USE);
}

void admin_pprof_allocs(struct admin *admin, struct http_request *request)
{
	(void)admin;
	reply_allocations(request, ALLOCATIONS_ALL);
}
