/*
 * millrace.c: the module itself and its settings.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "api/api.h"
#include "base/compat.h"
#include "scan/scan.h"
#include "store/store.h"

PG_MODULE_MAGIC;

extern void _PG_init(void);

static void
DefineSettings(void)
{
	SelectionDefineSettings();
	DefineCustomBoolVariable(
		"millrace.category_lock", "Makes appends hold Message DB's lock of the category to their commit.",
		"For programs that read the table with a SELECT of their own by global position.", &category_lock,
		false, PGC_USERSET, 0, NULL, NULL, NULL);
}

/*
 * Before this library is loaded any name with our prefix can be set, as Postgres can't know better.  It would
 * only warn of one that we have not defined, and forget it; but a client that meant millrace.namespace would
 * then work on another tenant's namespace.  So the library is not loaded, and all that is called fails.
 */
static void
RefuseUnknownSettings(void)
{
	int nsettings;
	struct config_generic **settings = CompatSettings(nsettings);

	for (int i = 0; i < nsettings; i++)
	{
		const char *name = settings[i]->name;
		const char *value;

		if ((settings[i]->flags & GUC_CUSTOM_PLACEHOLDER) == 0 || pg_strncasecmp(name, "millrace.", 9) != 0)
			continue;
		value = GetConfigOption(name, true, false);
		if (value && *value) /* after a RESET there is none */
			ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
							errmsg("invalid configuration parameter name \"%s\"", name),
							errdetail("\"millrace\" is a reserved prefix."),
							errhint("RESET %s. Where the role or the database brings it along, ALTER ROLE or "
									"ALTER DATABASE ... RESET %s takes it away.",
									name, name)));
	}
}

void
_PG_init(void)
{
	/* An error below leaves the library in memory, and the next call comes here again. */
	static bool defined = false;

	if (!defined)
		DefineSettings();
	defined = true;
	/* The server should start, and autovacuum go on: it opens indexes of tags, which need this library. */
	if (!process_shared_preload_libraries_in_progress && MyBackendType != B_AUTOVAC_WORKER)
		RefuseUnknownSettings();
	MarkGUCPrefixReserved("millrace");
	ScanInit();
	WireInit();
}
