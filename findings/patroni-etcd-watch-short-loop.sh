#!/bin/bash
# Patroni 3.0.2 (Debian 12's) with etcd's second interface does not watch the leader key where loop_wait is 1.
#
# First guess: a standby waits for its next loop in a watch of the leader key, however long the loop is, so
#   that it sees at once that the key has gone; a shorter loop_wait only makes it look more often besides.
# Behaviour: what is left of a loop is less than a second then, and for less than a second it only sleeps.
#   So a shorter loop makes standbys see it later: with loop_wait 1 within a second, with 2 at once.
# Output seen:
#   0.9 s: the key goes after 0.2 s, and that is seen when the time is over
#   1.9 s: the key goes after 0.2 s, and that is seen at once
# Consequence: sidecar/GROWING.md keeps loop_wait 1, as a standby that was woken while nobody leads looks
#   again only after a whole loop; what the missing watch costs there is up to a second of a failover.
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
timeout 300 venv/bin/pip install -q "patroni[etcd]==3.0.2" "urllib3<2" "setuptools<80" >pip.log 2>&1

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
peer=http://127.0.0.1:0
server/usr/bin/etcd --enable-v2 --data-dir "$work/data" --listen-client-urls "http://127.0.0.1:$port" \
	--advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "$peer" \
	--initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" >etcd.log 2>&1 &
etcd=$!

cat >trial.py <<'END'
import sys
import threading
import time

from patroni.dcs import get_dcs

GOES = 0.2


def node(name):
    return get_dcs({"scope": "trial", "name": name, "namespace": "/trial", "ttl": 20, "loop_wait": 1,
                    "retry_timeout": 9, "etcd": {"host": f"127.0.0.1:{sys.argv[1]}"}})


leader, standby = node("a"), node("b")
for seconds in 0.9, 1.9:
    assert leader.attempt_to_acquire_leader()
    index = standby.get_cluster().leader.index
    gone = threading.Timer(GOES, leader.delete_leader)
    began = time.monotonic()
    gone.start()
    standby.watch(index, seconds)
    took = time.monotonic() - began
    gone.join()
    print(f"{seconds} s: the key goes after {GOES} s, and that is seen "
          f"{'at once' if took < seconds - 0.3 else 'when the time is over'}")
END
timeout 120 venv/bin/python trial.py "$port" 2>trial.log | tee seen || tail -5 trial.log
sed -n '/^# Output seen/,/^# Consequence/s/^#   //p' "$here" | diff - seen
