#!/bin/bash
# Makes millrace-VERSION.zip of what is committed, the archive for PGXN: META.json stands at its root, where
# PGXN looks for it.
set -euo pipefail

cd "$(dirname "$0")/../.."
version=$(git show HEAD:sidecar/base/version.h | sed -n 's/^#define MILLRACE_VERSION "\(.*\)"$/\1/p')
archive=$PWD/millrace-$version.zip
meta=$(mktemp -d)
trap 'rm -rf "$meta"' EXIT

git show HEAD:extension/META.json >"$meta/META.json"
git archive --format=zip --prefix="millrace-$version/" --add-file="$meta/META.json" \
	--output="$archive" HEAD -- . ':!extension/META.json'
[ -z "$(git status --porcelain)" ] || echo "What is not committed is not in it." >&2
echo "$archive"
