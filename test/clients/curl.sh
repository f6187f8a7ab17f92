#!/bin/bash
# Follows /subscribe by curl: curl.sh curl plain|set URL TOKEN.  A line for each event: `event [TYPE, ID, LENGTH OF DATA]`.
set -uo pipefail
how=$2 url=$3 token=$4
last=$(mktemp)
trap 'rm -f "$last"' EXIT

follow() {
	curl -sN --fail-with-body "$@" "$url" -H "Authorization: Bearer $token" | awk -v last="$last" '
		/^event: / { type = substr($0, 8) }
		/^id: / { id = substr($0, 5) }
		/^data: / { data = substr($0, 7) }
		/^$/ && data != "" {
			printf "event [\"%s\", \"%s\", %d]\n", type, id, length(data)
			fflush()
			print id > last
			close(last)
			data = ""
		}'
}

follow
while [ "$how" = set ]; do
	sleep 0.5
	follow -H "Last-Event-ID: $(cat "$last")"
done
