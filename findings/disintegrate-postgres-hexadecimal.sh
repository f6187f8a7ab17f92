#!/bin/bash
# The crate disintegrate-postgres 4.0.1 does not make its schema on PostgreSQL 15 (Debian 12: 15.x).
#
# First guess: it runs on every PostgreSQL that is supported, as it names none and asks for nothing new.
# Behaviour: a function of its schema has a number in hexadecimal, which PostgreSQL takes since 16; 15 refuses
#   CREATE FUNCTION, so that the first start fails.
# Output seen:
#   with 0xFFFFFFFF: trailing junk after numeric literal at or near "0xFFFFFFFF"
#   with 4294967295: CREATE FUNCTION
# Consequence: a measurement beside it on 15 has to write that number in decimal (bench/peers).
#
# Needs cargo and PostgreSQL 15, and root to become the user postgres.  Exit code 1: it is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
bin=/usr/lib/postgresql/15/bin
work=$(mktemp -d)
chmod 755 "$work"
as_postgres() { runuser -u postgres -- "$@"; }
clean_up() {
	as_postgres "$bin/pg_ctl" -D "$work/pg/data" -m immediate stop >"$work/stopped" 2>&1 || true
	rm -rf "$work"
}
trap clean_up EXIT
cd "$work"

# The crate's source is enough; nothing is compiled.
mkdir -p crate/src
touch crate/src/lib.rs
cat >crate/Cargo.toml <<'END'
[package]
name = "probe"
version = "0.1.0"
edition = "2021"
[dependencies]
disintegrate-postgres = "=4.0.1"
END
export CARGO_HOME=$work/cargo
(cd crate && timeout 300 cargo fetch -q)
sql=(cargo/registry/src/*/disintegrate-postgres-4.0.1/src/event_store/sql)
cp "${sql[0]}/fn_event_store_begin_epoch.sql" as_it_is.sql
sed 's/0xFFFFFFFF/4294967295/' as_it_is.sql >decimal.sql

install -d -o postgres pg
as_postgres "$bin/initdb" -D pg/data -A trust >initdb.log
as_postgres "$bin/pg_ctl" -D pg/data -o "-k $work/pg -c listen_addresses=" -l pg/log -w start >start.log
create() {
	"$bin/psql" -X -h "$work/pg" -U postgres postgres -f "$1" 2>&1 |
		sed -n 's/.*ERROR:  //p; /^CREATE/p' | head -1
}
{
	echo "with 0xFFFFFFFF: $(create as_it_is.sql)"
	echo "with 4294967295: $(create decimal.sql)"
} | tee seen
sed -n '/^# Output seen/,/^# Consequence/s/^#   //p' "$here" | diff - seen
