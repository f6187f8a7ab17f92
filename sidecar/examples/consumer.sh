#!/bin/sh
# Prints the messages of category `wallet`, each stream in order.  Start several, and again after a crash.
url=${MILLRACE_URL:-http://localhost:8080}/rpc

# Sends it until there is an answer, and keeps that; a claim that is lost is one.
call() {
    until answer=$(curl -s --fail-with-body -m 90 "$url" -H "Authorization: Bearer $TOKEN" -d "$1"); do
        printf '%s\n' "${answer:-no answer}" >&2
        case $answer in *'"CLAIM_LOST"'*) return ;; esac
        sleep 1
    done
}

# What is to be done with a message, in JSON.  It may be done again, after a crash: this must do no harm.
handle() {
    case $1 in *'"amount": -'*) return 1 ;; esac
    printf '%s\n' "$1"
}

call '["consumer.create", "printer", {"category": "wallet", "leaseMs": 10000}]'
while read -r request </proc/sys/kernel/random/uuid; do
    call '["consumer.next", "printer", {"max": 1, "request": "'"$request"'"}]'
    claim=${answer#*:} claim=${claim%%,*}
    if [ "$claim" = null ]; then continue; fi
    message=${answer#*\"messages\":[} message=${message%]\}}
    failed='[]'
    if ! handle "$message"; then # its stream and position are what is behind its id, and behind its type
        failed=$(printf '%s\n' "$message" | sed -E \
            's/^\["[^"]*",("([^"\\]|\\.)*"),"([^"\\]|\\.)*",([0-9]+),.*/[{"stream": \1, "position": \4}]/')
    fi
    call '["consumer.settle", "printer", {"claim": '"$claim"', "failed": '"$failed"'}]'
done
