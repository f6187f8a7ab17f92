#!/bin/bash
# Patroni 3.0.2 (Debian 12's) with etcd's third interface renews a leader key that has become another node's.
#
# First guess: a leader whose lease ran out learns it from update_leader(), as with the second interface,
#   where the key is replaced only if it still has the node's name.
# Behaviour: with etcd3 the node that still sees itself as the leader in the view that it has read before gets
#   a new lease and puts its name into the key without a condition: the other node, which leads by now, is not
#   asked.
# Output seen:
#   etcd3: b holds the key, a renews: True, then the key is a's
#   etcd: b holds the key, a renews: False, then the key is b's
# Consequence: sidecar/GROWING.md has the machines use `etcd:` and not `etcd3:`; `make test-ha` with etcd3
#   lost messages that were acknowledged when a partition healed.
#
# Needs python3 with venv.  Exit code 1: it is no longer so.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
work=$(mktemp -d)
etcd=
clean_up() {
	[ -z "$etcd" ] || kill "$etcd" 2>"$work/killed" || true
	rm -rf "$work"
}
trap clean_up EXIT
cd "$work"

# The package is taken apart here, and not installed, so that nothing is started by it.
mkdir server
(cd server && apt-get download -q etcd-server >../download.log 2>&1 && dpkg -x etcd-server_3.4.23*.deb .)
python3 -m venv venv
timeout 300 venv/bin/pip install -q "patroni[etcd,etcd3]==3.0.2" "urllib3<2" "setuptools<80" >pip.log 2>&1

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
peer=http://127.0.0.1:0
server/usr/bin/etcd --enable-v2 --data-dir "$work/data" --listen-client-urls "http://127.0.0.1:$port" \
	--advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "$peer" \
	--initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" >etcd.log 2>&1 &
etcd=$!

cat >trial.py <<'END'
import sys
import time

from patroni.dcs import get_dcs


def node(interface, name):
    return get_dcs({
        "scope": interface, "name": name, "namespace": "/trial", "ttl": 20, "loop_wait": 10,
        "retry_timeout": 10,
        interface: {"host": f"127.0.0.1:{sys.argv[2]}"}
    })


def leads(dcs):
    leader = dcs.get_cluster().leader
    return leader.name if leader else None


def wait_until_leads(dcs, name):
    end = time.monotonic() + 60
    while leads(dcs) != name:
        assert time.monotonic() < end, name
        time.sleep(0.5)


interface = sys.argv[1]
a, b = node(interface, "a"), node(interface, "b")
a.attempt_to_acquire_leader()
wait_until_leads(a, "a")  # what it goes on to see
# For a its key runs out unseen, as while it is cut off.
wait_until_leads(b, "a")
wait_until_leads(b, None)
b.attempt_to_acquire_leader()
wait_until_leads(b, "b")
renewed = bool(a.update_leader(None))
time.sleep(2)  # b's view follows by itself
print(f"{interface}: b holds the key, a renews: {renewed}, then the key is {leads(b)}'s")
END
for interface in etcd3 etcd; do
	timeout 120 venv/bin/python trial.py "$interface" "$port" 2>"$interface.log" || tail -5 "$interface.log"
done | tee seen
sed -n '/^# Output seen/,/^# Consequence/s/^#   //p' "$here" | diff - seen
