#!/usr/bin/env bash
# What curl sees. Run by sdk_smoke.py, the base URL (without /v1) in AIMOCK_BASE; one line per check.
set -u
key='Authorization: Bearer sk-conformance' json='Content-Type: application/json' passed=0 failed=0
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT

check() { # check NAME EXPECTED GOT
    if [ "$2" = "$3" ]; then passed=$((passed + 1)) && echo "PASS $1"
    else failed=$((failed + 1)) && echo "FAIL $1: expected '$2', got '${3:0:400}'"; fi
}

chat='{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}'
stream='{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"hello"}]}'
head -c 3000000 /dev/urandom >"$scratch/file"
for suffix in /v1 ''; do
    [ -n "$suffix" ] || [ -z "${ONLY_V1:-}" ] || continue
    api=$AIMOCK_BASE$suffix how="(base URL with${suffix:-out /v1})"; how=${how/with\/v1/with \/v1}
    check "chat $how" 200 "$(curl -sS -o /dev/null -w '%{http_code}' "$api/chat/completions" -H "$key" -H "$json" -d "$chat")"
    check "chat streamed ends in [DONE] $how" 'data: [DONE]' \
        "$(curl -sSN "$api/chat/completions" -H "$key" -H "$json" -d "$stream" | grep . | tail -1)"
    check "chat over HTTP/1.0 $how" 200 \
        "$(curl -sS --http1.0 -o /dev/null -w '%{http_code}' "$api/chat/completions" -H "$key" -H "$json" -d "$chat")"
    check "chat with Expect: 100-continue $how" 200 "$(curl -sS -o /dev/null -w '%{http_code}' "$api/chat/completions" \
        -H "$key" -H "$json" -H 'Expect: 100-continue' -d "$chat")"
    check "chat with a chunked body $how" 200 "$(printf %s "$chat" | curl -sS -o /dev/null -w '%{http_code}' \
        -X POST "$api/chat/completions" -H "$key" -H "$json" -H 'Transfer-Encoding: chunked' --data-binary @-)"
    check "HEAD of models $how" 1 "$(curl -sSI "$api/models" -H "$key" | grep -c '^HTTP/1.1 ')"
    id=$(curl -sS "$api/files" -H "$key" -F purpose=user_data -F "file=@$scratch/file" | sed -E 's/.*"id":"([^"]+)".*/\1/')
    curl -sS -o "$scratch/back" "$api/files/$id/content" -H "$key"
    check "file there and back $how" "$(sha256sum <"$scratch/file")" "$(sha256sum <"$scratch/back")"
    check "two requests on one connection $how" '1
0' "$(curl -sS "$api/models" "$api/models" -H "$key" -o /dev/null -o /dev/null -w '%{num_connects}\n')"
    for status in 400 401 404 429 500; do
        check "error $status $how" "$status" "$(curl -sS -o /dev/null -w '%{http_code}' "$api/chat/completions" -H "$key" \
            -H "$json" -d "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"status-$status\"}]}")"
    done
done
echo "curl: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
