#!/bin/bash
# Follows /subscribe by curl: curl.sh curl plain|set URL TOKEN.
# A line for each event: `event [TYPE, ID, LENGTH OF DATA]`.
set -uo pipefail
how=$2 url=$3 token=$4
last=$(mktemp)
trap 'rm -f "$last"' EXIT

follow() {
	curl -sN --fail-with-body "$@" "$url" -H "Authorization: Bearer $token" | LAST=$last perl -ne '
		BEGIN { $| = 1 }
		if (/^event: (.*)/) { $type = $1 }
		elsif (/^id: (.*)/) { $id = $1 }
		elsif (/^data: (.*)/) { $data = $1 }
		elsif (/^$/ && length $data) {
			printf "event [\"%s\", \"%s\", %d]\n", $type, $id, length $data;
			open my $file, ">", $ENV{LAST};
			print $file $id;
			$data = "";
		}'
}

follow
while [ "$how" = set ]; do
	sleep 0.5
	follow -H "Last-Event-ID: $(cat "$last")"
done
