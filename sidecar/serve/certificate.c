/*
 * certificate: what the settings and signals have to do with it; see certificate.h.
 */
#include "serve/certificate.h"

#include "base/config.h"
#include "base/log.h"
#include "net/tls.h"

bool certificate_read(const struct config *config, struct tls **tls, struct buf *error)
{
	if (config->tls_cert == NULL && config->tls_key == NULL)
		return true;
	if (config->tls_cert == NULL || config->tls_key == NULL)
	{
		buf_printf(error, "%s",
				   config->tls_key == NULL ? "--tls-cert needs --tls-key, too"
										   : "--tls-key needs --tls-cert, too");
		return false;
	}
	*tls = tls_new(config->tls_cert, config->tls_key, error);
	return *tls != NULL;
}

void certificate_reload(const struct config *config, struct tls *tls)
{
	struct buf error = {0};

	if (tls == NULL)
		log_info("SIGHUP: without --tls-cert there is nothing to read again");
	else if (tls_reload(tls, &error))
		log_info("SIGHUP: new connections get the certificate that is in %s now", config->tls_cert);
	else
		log_error("SIGHUP: the certificate stays what it was: %.*s", (int)error.len, error.data);
	buf_free(&error);
}

struct certificate_facts certificate_facts(const struct tls *tls)
{
	struct tls_facts facts = tls_facts(tls);

	return (struct certificate_facts){facts.expires, facts.loaded, facts.reload_failed};
}
