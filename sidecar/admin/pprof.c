/*
 * admin_pprof: /debug/pprof, profiles in the formats of gperftools, which google-pprof reads.
 *
 * The CPU profiler is a library that is loaded when somebody first asks for a profile: the kernel's timer for
 * CPU time then signals whichever thread is running, 100 times a second.  It writes to memory that has a
 * file name.  One profile at a time, because there is one timer a process.
 */
#include <dlfcn.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/internal.h"
#include "admin/allocations.h"
#include "base/buf.h"

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
	struct evhttp_request *request;
	struct event *over, *gone;
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
	if (profile->gone != NULL)
		event_free(profile->gone);
	if (profile->fd >= 0)
		close(profile->fd);
	profile->admin->profile = NULL;
	free(profile);
}

/* Replies with the profile, whose memory then goes with the reply. */
static void send_profile(struct admin_profile *profile)
{
	struct evbuffer *body = evbuffer_new();
	struct evhttp_request *request = profile->request;
	struct stat status;
	bool ok = body != NULL && fstat(profile->fd, &status) == 0 && status.st_size > 0 &&
			  evbuffer_add_file(body, profile->fd, 0, status.st_size) == 0;

	if (ok)
		profile->fd = -1;
	profile_free(profile);
	if (ok)
		admin_reply(request, 200, BINARY, body);
	else
		admin_refuse(request, 500, "the profile could not be read");
	if (body != NULL)
		evbuffer_free(body);
}

/* The time is over, or the client has hung up. */
static void on_over(evutil_socket_t fd, short what, void *arg)
{
	struct admin_profile *profile = arg;

	(void)fd;
	(void)what;
	profile->profiler.stop();
	send_profile(profile);
}

static bool start_profiler(const struct admin_profile *profile)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", profile->fd);
	return profile->fd >= 0 && profile->profiler.start(path) != 0;
}

static void profile_start(struct admin *admin, struct evhttp_request *request,
						  const struct profiler *profiler, int seconds)
{
	const struct timeval time = {.tv_sec = seconds};
	struct bufferevent *client = evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));
	struct admin_profile *profile = calloc(1, sizeof(*profile));

	if (profile == NULL)
	{
		admin_refuse(request, 500, "out of memory");
		return;
	}
	*profile = (struct admin_profile){.admin = admin, .request = request, .profiler = *profiler};
	admin->profile = profile;
	profile->fd = memfd_create("cpu.prof", MFD_CLOEXEC);
	profile->over = evtimer_new(admin->base, on_over, profile);
	/* evhttp itself does not look at the connection before the reply. */
	profile->gone = event_new(admin->base, bufferevent_getfd(client), EV_CLOSED, on_over, profile);
	if (profile->over == NULL || profile->gone == NULL || !start_profiler(profile))
	{
		profile_free(profile);
		admin_refuse(request, 500, "the profiler could not be started");
		return;
	}
	event_add(profile->over, &time);
	event_add(profile->gone, NULL);
}

/* False: it is malformed, and that was replied. */
static bool read_seconds(struct evhttp_request *request, int *seconds)
{
	struct evkeyvalq query;
	const char *text;
	char *end;
	long number = DEFAULT_SECONDS;
	bool ok = true;

	if (!admin_query(request, &query))
		return false;
	text = evhttp_find_header(&query, "seconds");
	if (text != NULL)
	{
		number = strtol(text, &end, 10);
		ok = end != text && *end == '\0' && number >= 1 && number <= MAX_SECONDS;
	}
	evhttp_clear_headers(&query);
	*seconds = (int)number;
	if (!ok)
		admin_refuse(request, 400, "seconds must be a whole number from 1 to %d", MAX_SECONDS);
	return ok;
}

void admin_pprof_profile(struct admin *admin, struct evhttp_request *request)
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

void admin_pprof_end(struct admin *admin)
{
	if (admin->profile == NULL)
		return;
	admin->profile->profiler.stop();
	admin_forget(admin->profile->request);
	profile_free(admin->profile);
}

/* ---- memory ------------------------------------------------------------------- */

static void reply_allocations(struct evhttp_request *request, enum allocations which)
{
	struct buf profile = {0};

	if (!allocations_profile(&profile, which))
		admin_refuse(
			request, 501,
			"this build does not record allocations; make -C sidecar PROFILE=1 builds one that does, "
			"sidecar/build-profile/millrace");
	else if (profile.failed)
		admin_refuse(request, 500, "out of memory");
	else
		admin_reply_bytes(request, BINARY, &profile);
	buf_free(&profile);
}

void admin_pprof_heap(struct admin *admin, struct evhttp_request *request)
{
	(void)admin;
	reply_allocations(request, ALLOCATIONS_IN_USE);
}

void admin_pprof_allocs(struct admin *admin, struct evhttp_request *request)
{
	(void)admin;
	reply_allocations(request, ALLOCATIONS_ALL);
}
