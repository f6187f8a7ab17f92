#!/bin/sh
# Prints the messages of category `wallet`, each stream in order.  Start several, and again after a crash.
url=${MILLRACE_URL:-http://localhost:8080}/rpc

# Sends it until there is an answer: not while the server is not ready or we ask too much (429).
call() {
    while :; do
        reply=$(curl -s --max-time 90 -w '%{http_code}' "$url" -H "Authorization: Bearer $TOKEN" -d "$1") &&
            case $reply in *5?? | *429) ;; *) break ;; esac
        sleep 1
    done
    printf '%s\n' "${reply%???}"
}

# What is to be done with a message, in JSON.  It may be done again, after a crash: this must do no harm.
handle() {
    case $1 in *'"amount": -'*) return 1 ;; esac
    printf '%s\n' "$1"
}

call '["consumer.create", "printer", {"category": "wallet", "leaseMs": 10000}]' >&2
while :; do
    request=$(cat /proc/sys/kernel/random/uuid)
    answer=$(call '["consumer.next", "printer", {"max": 1, "waitMs": 30000, "request": "'"$request"'"}]')
    claim=$(printf '%s\n' "$answer" | sed -n 's/^{"claim":\([0-9][0-9]*\),.*/\1/p')
    if [ -z "$claim" ]; then
        case $answer in '{"error"'*) printf '%s\n' "$answer" >&2 && sleep 1 ;; esac
        continue
    fi
    message=${answer#*\"messages\":[} message=${message%]\}}
    failed='[]'
    if ! handle "$message"; then # its stream and position are what is behind its id, and behind its type
        failed=$(printf '%s\n' "$message" | sed -E \
            's/^\["[^"]*",("([^"\\]|\\.)*"),"([^"\\]|\\.)*",([0-9]+),.*/[{"stream": \1, "position": \4}]/')
    fi
    call '["consumer.settle", "printer", {"claim": '"$claim"', "failed": '"$failed"'}]' >/dev/null
done
