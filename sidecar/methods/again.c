/*
 * again.c: calls whose namespace is on its way to another cluster, or has gone there, are made again when
 * it is open (see places/places.h).
 *
 * What a call that was refused so has asked for was not done.  But it may have been done before, by an
 * attempt whose connection was lost; so it is made again with the same ids, by which the store, wherever
 * it is now, finds what it has.  A read goes on where it was: positions move with the messages.
 */
#include <stddef.h>

#include "base/clock.h"
#include "methods/internal.h"

static const char *namespace_of(const struct method_call *call)
{
	return call->about >= 0 ? call->text.data + call->texts[call->about] : call->namespace_name;
}

static void answer_with(struct method_call *call, const struct error *error)
{
	struct method_reply reply = {.error = &call->error};

	if (error != &call->error)
		call->error = *error;
	call->done(call->arg, &reply);
}

static bool find_place(struct method_call *call, const char *namespace_name)
{
	struct place *place = places_of(call->methods->places, namespace_name);

	call->seat = DB_ANYWHERE;
	if (place != NULL)
		call->db = place->db;
	else
		error_set(&call->error, ERROR_BACKEND_UNAVAILABLE,
				  "the directory does not say how the cluster of namespace %s is reached", namespace_name);
	return place != NULL;
}

static void on_settled(struct place_wait *wait, const struct error *error)
{
	struct method_call *call = (struct method_call *)((char *)wait - offsetof(struct method_call, wait));

	if (error->code != ERROR_NONE)
		answer_with(call, error);
	else if (!find_place(call, call->namespace_name))
		answer_with(call, &call->error);
	else
	{
		call->again = true;
		call->run(call);
	}
}

static bool wait_for(struct method_call *call, const char *namespace_name)
{
	uint64_t now = clock_ms(), took_ms = clock_span(call->started_us, clock_us()) / 1000;
	uint64_t deadline = places_deadline(call->methods->places, now > took_ms ? now - took_ms : 0);
	struct error error;

	call->wait.done = on_settled;
	return now < deadline &&
		   places_wait(call->methods->places, namespace_name, deadline, &call->wait, &error);
}

bool method_is_made_again(struct method_call *call)
{
	return (call->error.code == ERROR_NAMESPACE_SEALED || call->error.code == ERROR_NAMESPACE_MOVED) &&
		   wait_for(call, namespace_of(call));
}

bool method_waits(struct method_call *call)
{
	bool appends = (call->method->right & (RIGHT_APPEND | RIGHT_REMOVE)) != 0;

	return appends && places_is_paused(call->methods->places, call->namespace_name) &&
		   wait_for(call, call->namespace_name);
}

bool method_go_to(struct method_call *call, unsigned i)
{
	call->about = (int)i;
	return find_place(call, namespace_of(call));
}

const struct uuid *method_request(struct method_call *call)
{
	if (!call->has_request)
		call->request = uuid_new(&call->methods->ids);
	call->has_request = true;
	return &call->request;
}

bool method_leave(struct method_call *call)
{
	struct error error;

	if (call->wait.pause == NULL)
		return false;
	places_leave(&call->wait);
	error_set(&error, ERROR_BACKEND_UNAVAILABLE, "the client has gone");
	answer_with(call, &error);
	return true;
}
