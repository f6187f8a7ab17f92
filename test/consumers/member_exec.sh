#!/bin/sh
# What `millrace consume --exec` runs for each message: the kinds of poison are member.py's.
#
# RECORD is the file of the member, CURED one that is there once no message is poison any more.
set -u
cat >/dev/null

if [ ! -e "$CURED" ]; then
    case "$MILLRACE_TYPE" in
    Fails) exit 75 ;;
    Parks) exit 65 ;;
    Kills) kill -9 "$PPID" && exit 1 ;;
    KillsAlone)
        [ "$MILLRACE_ATTEMPT" -gt 1 ] && kill -9 "$PPID"
        exit 1
        ;;
    Flaky) [ "$MILLRACE_ATTEMPT" -ge 3 ] || exit 75 ;;
    esac
fi
echo "{\"done\": $MILLRACE_GLOBAL_POSITION}" >>"$RECORD"
