#!/bin/bash
# An idle TLS connection takes twice the memory with OpenSSL 3.6 (Debian unstable: libssl3t64 3.6.5-1) that it
# takes with 3.0.
#
# First guess: about as much as with 3.0 (libssl3 3.0.20, Debian 12's), SSL_MODE_RELEASE_BUFFERS given: that
#   leaves no buffers for records to an idle connection, and the rest is the same protocol, version and
#   cipher.
# Behaviour: 3.6 has 14 kB more for each: 8 of them from SSL_new on, and 7 since it agrees on a key by
#   X25519MLKEM768 where both sides may choose, which 3.0 doesn't know.  These stay as long as the connection
#   does, and a server that allows X25519 only is without them.  (3.5.9, Debian 13's, is like 3.6.)
# Output seen (the numbers may be off by 2):
#   OpenSSL 3.0.20, bytes in thousands: 8 by SSL_new, 14 by an idle TLSv1.3 connection, 14 with X25519 only
#   OpenSSL 3.6.5, bytes in thousands: 16 by SSL_new, 28 by an idle TLSv1.3 connection, 21 with X25519 only
# Consequence: a limit of memory per connection that was measured with one version is none for another.
#
# These are the bytes that the server's side asks malloc for, through CRYPTO_set_mem_functions.  Debian's
# packages are fetched into a temporary folder by this machine's apt; needs gcc and Debian's archive keys.
# Exit code 1: it is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# shellcheck disable=SC2016 # apt's own variable
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)

# fetch SUITE PACKAGES...: into a folder of that name
fetch() {
	local folder=$work/$1 suite=$1 apt package
	shift
	mkdir -p "$folder"/{lists/partial,cache/archives/partial}
	cd "$folder"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site%/} $suite main" >sources.list
	touch status
	apt=(timeout 300 apt-get -q -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache"
		-o "Dir::State::status=$folder/status" -o "Dir::Etc::sourcelist=$folder/sources.list"
		-o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root)
	{ "${apt[@]}" update && "${apt[@]}" download "$@"; } >log 2>&1 || {
		tail -n 5 log
		exit 2
	}
	for package in *.deb; do
		dpkg -x "$package" root
	done
	cd "$work"
}

fetch bookworm libssl3=3.0.20-1~deb12u2 libssl-dev=3.0.20-1~deb12u2 libc6
fetch sid libssl3t64=3.6.5-1 zlib1g libzstd1 libc6

cat >try.c <<'END'
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Before each block. */
struct head
{
	_Alignas(max_align_t) size_t size;
	int of_server;
};

static int server_works;
static long server_has; /* bytes */

static void *take(size_t size, const char *file, int line)
{
	struct head *head = malloc(sizeof(*head) + size);

	(void)file, (void)line;
	if (head == NULL)
		abort();
	head->size = size;
	head->of_server = server_works;
	if (server_works)
		server_has += (long)size;
	return head + 1;
}

static void give(void *block, const char *file, int line)
{
	struct head *head = block;

	(void)file, (void)line;
	if (block == NULL)
		return;
	head--;
	if (head->of_server)
		server_has -= (long)head->size;
	free(head);
}

static void *resize(void *block, size_t size, const char *file, int line)
{
	void *larger = size ? take(size, file, line) : NULL;

	if (block && larger)
	{
		size_t before = ((struct head *)block - 1)->size;

		memcpy(larger, block, before < size ? before : size);
	}
	give(block, file, line);
	return larger;
}

static SSL_CTX *server_context(const char *groups)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	X509_NAME *name = X509_get_subject_name(certificate);

	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
	X509_set_issuer_name(certificate, name);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	X509_sign(certificate, key, EVP_sha256());
	SSL_CTX_use_certificate(context, certificate);
	SSL_CTX_use_PrivateKey(context, key);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	if (groups)
		SSL_CTX_set1_groups_list(context, groups);
	return context;
}

struct kept
{
	double by_new, idle;
	const char *version;
};

/* One more connection, which has said "hello" both ways and waits. */
static struct kept connection(SSL_CTX *server_context, SSL_CTX *client_context)
{
	BIO *ours, *theirs;
	SSL *server, *client;
	char text[16];
	long before = server_has;
	struct kept kept;

	/* The pair has its buffers already, and they aren't the server's. */
	BIO_new_bio_pair(&ours, 1 << 16, &theirs, 1 << 16);
	client = SSL_new(client_context);
	SSL_set_bio(client, theirs, theirs);
	SSL_set_connect_state(client);
	server_works = 1;
	server = SSL_new(server_context);
	kept.by_new = (double)(server_has - before) / 1000;
	SSL_set_bio(server, ours, ours);
	SSL_set_accept_state(server);
	for (int step = 0; step < 10; step++)
	{
		server_works = 0;
		SSL_do_handshake(client);
		server_works = 1;
		SSL_do_handshake(server);
	}
	server_works = 0;
	SSL_write(client, "hello", 5);
	server_works = 1;
	/* The second one finds nothing, as the reader of an idle connection does. */
	if (SSL_read(server, text, sizeof(text)) != 5 || SSL_write(server, text, 5) != 5 ||
		SSL_read(server, text, sizeof(text)) != -1)
		exit(2);
	server_works = 0;
	if (SSL_read(client, text, sizeof(text)) != 5)
		exit(2);
	kept.idle = (double)(server_has - before) / 1000;
	kept.version = SSL_get_version(server);
	return kept;
}

int main(void)
{
	SSL_CTX *client, *any, *x25519;
	struct kept of_any, of_x25519;

	CRYPTO_set_mem_functions(take, resize, give);
	client = SSL_CTX_new(TLS_client_method());
	any = server_context(NULL);
	x25519 = server_context("X25519");
	/* The first ones leave behind what is for all. */
	connection(any, client);
	connection(x25519, client);
	of_any = connection(any, client);
	of_x25519 = connection(x25519, client);
	printf("OpenSSL %s, bytes in thousands: "
		"%.0f by SSL_new, %.0f by an idle %s connection, %.0f with X25519 only\n",
		OpenSSL_version(OPENSSL_VERSION_STRING), of_any.by_new, of_any.idle, of_any.version, of_x25519.idle);
	return 0;
}
END
library() { dirname "$(find "$work/$1/root" -name "$2")"; }
headers=bookworm/root/usr/include
gcc -std=c11 -I$headers -I"$(dirname "$(dirname "$(find $headers -name opensslconf.h)")")" -o try try.c \
	"$(library bookworm libssl.so.3)"/lib{ssl,crypto}.so.3 -Wl,--allow-shlib-undefined
for suite in bookworm sid; do
	# By the C library that the package was made for.
	timeout 60 "$(find "$work/$suite/root" -name 'ld-linux-*.so.*' -o -name 'ld-linux.so.*' | head -n 1)" \
		--library-path "$(library $suite libssl.so.3):$(library $suite libc.so.6)" ./try
done | tee seen
sed -n '/^# Output seen/,/^# Consequence/s/^#   //p' "$here" >expected
awk 'NR == FNR { expected[NR] = $0; next }
	{
		if (split(expected[FNR], word) != NF)
			wrong = 1
		for (i = 1; i <= NF; i++)
			if ($i ~ /^[0-9]+$/ && word[i] ~ /^[0-9]+$/ ? \
				$i > word[i] + 2 || $i < word[i] - 2 : $i != word[i])
				wrong = 1
	}
	END { exit wrong || FNR != 2 }' expected seen || diff expected seen
