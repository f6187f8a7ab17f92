/*
 * admin_files: what /metrics says of files: the disk of the private PostgreSQL, the certificate.
 */
#include <inttypes.h>

#include "admin/internal.h"
#include "base/buf.h"
#include "serve/certificate.h"
#include "serve/embedded.h"

static void add(struct buf *out, const char *name, const char *help, int64_t value)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %" PRId64 "\n", name, help, name, name, value);
}

static void add_disk(struct buf *out, const struct embedded *embedded)
{
	struct embedded_disk disk;

	if (!embedded_measure_disk(embedded, &disk))
		return;
	add(out, "millrace_disk_size_bytes", "Size of the data directory's file system.", (int64_t)disk.size);
	add(out, "millrace_disk_free_bytes", "Bytes of it that are free for PostgreSQL.", (int64_t)disk.free);
	add(out, "millrace_disk_full", "1: too little is free, so nothing is appended; 0: there is room.",
		disk.full);
}

static void add_certificate(struct buf *out, const struct tls *tls)
{
	struct certificate_facts facts = certificate_facts(tls);

	add(out, "millrace_tls_certificate_expiry_timestamp_seconds",
		"When the certificate ends that new connections get, since unix epoch.", facts.expires);
	add(out, "millrace_tls_last_reload_successful",
		"1: the last SIGHUP was heeded, or there was none; 0: it failed.", facts.reload_failed ? 0 : 1);
	add(out, "millrace_tls_last_reload_success_timestamp_seconds",
		"When the certificate was last read, since unix epoch.", facts.loaded);
}

bool admin_disk_is_full(const struct admin *admin)
{
	struct embedded_disk disk;

	return admin->embedded != NULL && embedded_measure_disk(admin->embedded, &disk) && disk.full;
}

void admin_add_file_metrics(struct buf *out, const struct admin *admin)
{
	if (admin->embedded != NULL)
		add_disk(out, admin->embedded);
	if (admin->tls != NULL)
		add_certificate(out, admin->tls);
}
