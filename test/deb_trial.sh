#!/bin/bash
# What a user does with the packages, on a new system: see deb.sh.  Ends with "N passed, N failed".
set -uo pipefail
export LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive
passed=0 failed=0 position=-1

# check SENTENCE COMMAND...: the command must succeed
check() {
	local output
	if output=$("${@:2}" 2>&1); then
		echo "ok: $1"
		passed=$((passed + 1))
	else
		echo "FAILED: $1: ${*:2}"
		echo "$output"
		failed=$((failed + 1))
	fi
}

is() { [ "$1" = "$2" ] || { echo "it is: $1"; return 1; }; }
missing() { [ ! -e "$1" ]; }
install_packages() { apt-get install -qq --no-install-recommends "$@"; }
query() { su postgres -c "psql -X -A -t -v ON_ERROR_STOP=1 -d $1 -c \"$2\""; }
field() { dpkg-query --show --showformat="\${$1}" "$2"; }
property() { systemctl show --property "$1" --value millrace; }

# Appends the next message of a stream: fails when an earlier one got lost.
append() {
	local message='{"type": "Hello", "data": {}}'
	curl -sS --fail-with-body http://localhost:8080/rpc \
		-H "Authorization: Bearer $(cat /var/lib/millrace/token)" \
		-d "[\"stream.write\", \"greetings-1\", $message, {\"expectedVersion\": $position}]" || return 1
}
check_append() {
	check "$1" append
	position=$((position + 1))
}

restarted() {
	for _ in $(seq 200); do
		[ "$(property NRestarts)" -gt "$1" ] && [ "$(property ActiveState)" = active ] && return
		sleep 0.1
	done
	systemctl status millrace
	return 1
}

check "apt installs the packages" \
	install_packages /packages/millrace_*.deb /packages/postgresql-[0-9]*-millrace_*.deb logrotate
version=$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n')
check "the extension depends on the minor release that it was built with" \
	grep -qF "postgresql-$version (>= $(field source:Upstream-Version "postgresql-$version")~)," \
	<<<"$(field Depends "postgresql-$version-millrace")"
check "systemd finds no fault in the unit" systemd-analyze verify --man=no millrace.service
check "the service was started at once, with a PostgreSQL of its own" \
	is "$(property ActiveState) $(property NRestarts)" "active 0"
check "it runs as its user" is "$(ps -o user= -p "$(property MainPID)")" millrace
check "its user cannot log in" grep -q '^millrace:.*:/var/lib/millrace:.*nologin$' /etc/passwd
check "its token is its user's alone" is "$(stat -c '%U %a' /var/lib/millrace/token)" "millrace 600"
check "its token is not in the journal" is "$(journalctl | grep -c ns_ZGVm)" 0
check "it listens on the loopback only" grep -q 'http://127.0.0.1:8080' <(journalctl -u millrace)
check "the alerts and the dashboard are there" \
	test -s /usr/share/millrace/alerts.yaml -a -s /usr/share/millrace/dashboard.json
check_append "a message is appended with the token"
systemctl kill --signal KILL --kill-who main millrace
check "killed, it comes back" restarted 0
check_append "with all messages"
check "its settings are read again without an end" systemctl reload millrace
check_append "and without a pause"
check "the log of its PostgreSQL is rotated" logrotate --force /etc/logrotate.d/millrace
check "and kept" test -s /var/lib/millrace/postgres.log.1
check "it stops" systemctl stop millrace
check "as it should" is "$(property Result)" success
check "its PostgreSQL with it" missing /var/lib/millrace/pg/postmaster.pid

check "the machine's own PostgreSQL runs" systemctl start "postgresql@$version-main"
check "CREATE EXTENSION works there" query postgres "CREATE EXTENSION millrace;
	SELECT millrace.create_namespace('default'); SELECT millrace.append('a-1', 'T', '{}')"
query postgres "CREATE ROLE millrace LOGIN" >/dev/null
query postgres "CREATE DATABASE events OWNER millrace" >/dev/null
query events "CREATE EXTENSION millrace;
	GRANT SELECT, INSERT, UPDATE, DELETE ON millrace.namespaces TO millrace" >/dev/null
cp -a /etc/millrace/millrace.conf /var/lib/millrace/token /tmp
sed -i 's/^#MILLRACE_DATABASE=/MILLRACE_DATABASE=/' /etc/millrace/millrace.conf
check "the service starts with that one" systemctl start millrace
own=$position position=-1
check_append "a message is appended"
check "there" is "$(query events "SELECT count(*) FROM millrace_default.messages")" 1
systemctl stop millrace
cp -a /tmp/millrace.conf /etc/millrace
cp -a /tmp/token /var/lib/millrace
position=$own

changes=/etc/systemd/system/millrace.service.d
mkdir $changes
cat >$changes/port.conf <<-END
	[Service]
	AmbientCapabilities=CAP_NET_BIND_SERVICE
	CapabilityBoundingSet=CAP_NET_BIND_SERVICE
	Environment=MILLRACE_PORT=80
END
systemctl daemon-reload
check "with the capability for it the service starts on port 80" systemctl start millrace
check "where it answers" curl -sS --fail http://localhost:80/health
systemctl stop millrace
rm -r $changes
systemctl daemon-reload

systemctl start millrace
check "apt removes the program" apt-get remove -qq millrace
check "which has stopped" is "$(property ActiveState)" inactive
check "the program is gone" missing /usr/bin/millrace
check "its settings stay" test -e /etc/millrace/millrace.conf
check "its data stays" test -e /var/lib/millrace/pg/PG_VERSION
check "apt purges it and says that the data stays" \
	grep -q 'The messages in /var/lib/millrace are kept' <<<"$(apt-get purge -qq millrace 2>&1)"
check "its settings are gone" missing /etc/millrace
extension='usr/lib/postgresql|usr/share/postgresql|usr/share/doc/postgresql|var/lib/dpkg/info/postgresql'
left=$(find /etc /usr /var -name '*millrace*' |
	grep -Ev "^/($extension|usr/share/lintian|var/cache/apt)|^/var/lib/millrace(/|\$)")
check "nothing but the data and the extension is left" is "$left" ""
check "apt installs it again" install_packages /packages/millrace_*.deb
check "the service finds its data" systemctl start millrace
check_append "and the stream goes on"
check "apt purges both" apt-get purge -qq millrace "postgresql-$version-millrace"
check "the extension is gone" is "$(find /usr/lib/postgresql /usr/share -name '*millrace*')" ""

echo "$passed passed, $failed failed"
