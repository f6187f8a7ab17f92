/*
 * admin_clusters: what /ready and /metrics say of several clusters.
 *
 * A worker opens a cluster when it first needs it; one that no worker has needed yet is not said to be ready
 * or not.  A server is ready while one of its clusters is: each takes only its own namespaces along.
 */
#include <inttypes.h>
#include <string.h>

#include "admin/consumers.h"
#include "admin/internal.h"
#include "base/json.h"
#include "base/url_query.h"
#include "places/directory.h"
#include "places/places.h"
#include "serve/worker.h"

enum readiness
{
	UNUSED,
	NOT_READY,
	READS_ONLY,
	READY,
};

static const char *const words[] = {
	[UNUSED] = "unused", [NOT_READY] = "not ready", [READS_ONLY] = "reads only", [READY] = "ready"};

/* As the least ready of the workers that use it. */
static enum readiness look_at(const struct admin *admin, unsigned cluster)
{
	bool used = false, reads = true, writes = true;

	for (unsigned i = 0; i < admin->inquirer.nworkers; i++)
	{
		struct places *places = worker_places(admin->inquirer.workers[i]);

		if (!places_uses(places, cluster))
			continue;
		used = true;
		reads = reads && places_readable(places, cluster);
		writes = writes && places_ready(places, cluster);
	}
	return !used ? UNUSED : writes ? READY : reads ? READS_ONLY : NOT_READY;
}

/* Writes each cluster's readiness, and finds that of the one that is asked for, or the best. */
static enum readiness add_clusters(const struct admin *admin, struct slice asked, struct buf *out)
{
	enum readiness best = UNUSED;
	const char *name;

	buf_add_str(out, "\"clusters\":{");
	for (unsigned i = 0; (name = directory_cluster_name(admin->directory, i)) != NULL; i++)
	{
		enum readiness readiness = look_at(admin, i);

		buf_add_str(out, i > 0 ? "," : "");
		json_add_string(out, name, strlen(name));
		buf_printf(out, ":\"%s\"", words[readiness]);
		if (readiness > best && (asked.bytes == NULL || slice_is(asked, name)))
			best = readiness;
	}
	buf_add_str(out, "}");
	return best;
}

void admin_ready_by_cluster(struct admin *admin, struct http_request *request, bool reads)
{
	struct buf asked = {0}, clusters = {0}, text = {0};
	bool one = url_query_find(http_query(request), "cluster", &asked);
	enum readiness best =
		add_clusters(admin, one ? (struct slice){asked.data, asked.len} : (struct slice){NULL, 0}, &clusters);
	bool ready = !admin->draining && (best == READY || (reads && best == READS_ONLY));
	const struct http_reply reply = {.status = ready ? 200 : 503};
	struct piece piece;

	if (admin->draining || best == UNUSED)
		best = NOT_READY;
	buf_printf(&text, "{\"status\":\"%s\",", words[best]);
	buf_add(&text, clusters.data, clusters.len);
	buf_add_str(&text, "}");
	piece = (struct piece){.bytes = text.data, .len = text.len};
	http_reply(request, &reply, &piece, 1);
	buf_free(&asked);
	buf_free(&clusters);
	buf_free(&text);
}

void admin_add_cluster_metrics(struct buf *out, const struct admin *admin)
{
	struct directory_status status;
	const char *name;

	if (admin->directory == NULL)
		return;
	directory_describe(admin->directory, &status);
	buf_add_str(out, "# HELP millrace_cluster_ready 1: every worker that uses the cluster has its connection "
					 "for appends there, 0: one has not.\n# TYPE millrace_cluster_ready gauge\n");
	for (unsigned i = 0; (name = directory_cluster_name(admin->directory, i)) != NULL; i++)
	{
		enum readiness readiness = look_at(admin, i);

		if (readiness == UNUSED)
			continue;
		buf_add_str(out, "millrace_cluster_ready{cluster=\"");
		admin_add_label(out, name);
		buf_printf(out, "\"} %d\n", readiness == READY);
	}
	buf_printf(out,
			   "# HELP millrace_directory_reachable 1: the directory answered when it was asked last, 0: it "
			   "did not.\n# TYPE millrace_directory_reachable gauge\nmillrace_directory_reachable %d\n"
			   "# HELP millrace_directory_age_seconds Time since the directory answered.\n"
			   "# TYPE millrace_directory_age_seconds gauge\nmillrace_directory_age_seconds %.3f\n"
			   "# HELP millrace_directory_namespaces Namespaces that are known from the directory.\n"
			   "# TYPE millrace_directory_namespaces gauge\nmillrace_directory_namespaces %zu\n",
			   status.reachable, (double)status.age_ms / 1000, status.namespaces);
}
