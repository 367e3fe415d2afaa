#!/usr/bin/env bash
# The openai Python library's own test-suite: straight to a mock server, then through the daemon with and without /v1.
#
#   tests/conformance/openai_sdk_suite.sh SPEC [MODE...]        SPEC: the OpenAPI description 3.3.1 (.yml or .yml.gz);
#                                                               or OPENAPI_SPEC=SPEC tests/conformance/openai_sdk_suite.sh
#   MODE: direct, v1 (base URL ends in /v1), bare (it does not); default: all three
#
# Everything it downloads stays in CONFORMANCE_DIR (default: openai-proxy-conformance in the temporary directory); a second
# run downloads nothing. Needs python3, node with npm, and the daemon's environment (TWISTD, default .venv/bin/twistd).
# PYTEST_ARGS adds to each run, e.g. PYTEST_ARGS="-k chat -x". The expected figure is the direct run's, of the same run:
# 6247 passed, 24 skipped. Exit 0 only if every other mode ends with the same counts. About a minute a mode.
set -euo pipefail
readonly SDK_VERSION=3.3.1 STEADY_VERSION=0.22.2
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=${CONFORMANCE_DIR:-${TMPDIR:-/tmp}/openai-proxy-conformance}
twistd=${TWISTD:-$top/.venv/bin/twistd}
spec=${OPENAPI_SPEC:-}
[ -n "$spec" ] || { spec=${1:-}; [ $# -eq 0 ] || shift; }
[ -r "$spec" ] || { echo "give the OpenAPI description as first argument or in OPENAPI_SPEC (got: '$spec')" >&2; exit 2; }
[ $# -gt 0 ] || set -- direct v1 bare
export PIP_DISABLE_PIP_VERSION_CHECK=1

started=()
stop_all() { [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true; wait 2>/dev/null || true; }
trap stop_all EXIT

install_suite() {
    mkdir -p "$work"
    [ -x "$work/venv/bin/pytest" ] || {
        python3 -m venv "$work/venv"
        "$work/venv/bin/pip" install -q pytest pytest-asyncio pytest-xdist Pillow rich inline-snapshot \
            "openai[aiohttp,realtime]==$SDK_VERSION"
    }
    [ -d "$work/openai-$SDK_VERSION" ] || {
        "$work/venv/bin/pip" download -q --no-deps --no-binary openai "openai==$SDK_VERSION" -d "$work"
        tar -xzf "$work/openai-$SDK_VERSION.tar.gz" -C "$work"
    }
    [ -x "$work/node_modules/.bin/steady" ] || npm --prefix "$work" install --silent "@stdy/cli@$STEADY_VERSION"
}

unpack_spec() { # the mock then serves under /v1, as the API does
    case "$spec" in *.gz) gzip -dc "$spec" ;; *) cat "$spec" ;; esac | sed -E 's,^  /,  /v1/,' >"$work/spec.yml"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

wait_for() { # wait_for PORT NAME LOG
    for _ in $(seq 150); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.2
    done
    echo "$2 did not start:" >&2 && tail -20 "$3" >&2 && exit 3
}

start_mock() {
    mock_port=$(free_port)
    "$work/node_modules/.bin/steady" --host 127.0.0.1 -p "$mock_port" -q \
        --validator-{query,form}-{array,object}-format=brackets "$work/spec.yml" >"$work/mock.log" 2>&1 &
    started+=($!)
    wait_for "$mock_port" "the mock server" "$work/mock.log"
}

start_daemon() { # pass-through: no key of its own
    proxy_port=$(free_port)
    (cd "$work" && exec env -u OPENAI_API_KEY -u CLIENT_API_KEYS OPENAI_API_BASE="http://127.0.0.1:$mock_port" \
        "$twistd" -n --pidfile= openai-proxy --port "tcp:$proxy_port:interface=127.0.0.1") >"$work/daemon.log" 2>&1 &
    started+=($!)
    wait_for "$proxy_port" "the daemon" "$work/daemon.log"
}

run_suite() { # run_suite NAME BASE_URL
    echo "== $1: $2"
    (cd "$work/openai-$SDK_VERSION" && TEST_API_BASE_URL=$2 PYTHONPATH=$PWD/src \
        "$work/venv/bin/pytest" -q tests/api_resources -p no:cacheprovider -n 1 -W ignore ${PYTEST_ARGS:-}) \
        >"$work/$1.log" 2>&1 || true
    grep -E '^(FAILED|ERROR)' "$work/$1.log" || true
    tail -1 "$work/$1.log"
    counts=$(tail -1 "$work/$1.log" | sed -E 's/ in [0-9].*//; s/=+ ?//')
    case "$counts" in *failed* | *error*) status=1 ;; *passed*) ;; *) status=1 ;; esac
}

install_suite
unpack_spec
start_mock
expected='' status=0
for mode in "$@"; do
    case "$mode" in
        direct) run_suite direct "http://127.0.0.1:$mock_port/v1"; expected=$counts; continue ;;
        v1 | bare) [ -n "${proxy_port:-}" ] || start_daemon ;;
        *) echo "unknown mode $mode: direct, v1, bare" >&2; exit 2 ;;
    esac
    suffix=/v1; [ "$mode" = v1 ] || suffix=
    run_suite "$mode" "http://127.0.0.1:$proxy_port$suffix"
    [ -z "$expected" ] || [ "$counts" = "$expected" ] || status=1
done
grep -n 'Traceback' "$work/daemon.log" 2>/dev/null && { echo "tracebacks in $work/daemon.log"; status=1; }
[ $status -eq 0 ] && echo "PASS: the suite ends alike everywhere" || echo "FAIL: see the logs in $work"
exit $status
