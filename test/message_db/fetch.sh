#!/bin/bash
# Puts Message DB's SQL files into a folder that is not there yet, by npm, for a system where npm would take
# 300 packages more:
#
#   fetch.sh FOLDER
#
# There MESSAGE_DB_FOLDER=FOLDER says where they are (peer.py).
set -euo pipefail

target=${1:?"which folder?"}
package=@eventide/message-db@1.3.1
[ ! -d "$target" ] || exit 0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && npm pack --silent "$package" && tar -xzf ./*.tgz)
chmod -R a+rX "$folder/package/database"
mv "$folder/package/database" "$target"
