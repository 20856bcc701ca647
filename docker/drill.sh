#!/usr/bin/env bash
# Stops the running container while calls are up, and proves that none of them is cut.
#
#   docker compose up -d && docker/drill.sh [CALLS]
#
# Needs the command `tandem` (in .venv/bin or on the PATH) and a server without keys, or the server's own variables.
set -euo pipefail
cd "$(dirname "$0")/.."
calls=${1:-20}
origin=http://127.0.0.1:${PORT:-8000}
tandem=$PWD/.venv/bin/tandem
[ -x "$tandem" ] || tandem=$(command -v tandem)
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

live() { curl -fsS -m 2 "$origin/readyz" | sed 's/.*"calls":\([0-9]*\).*/\1/'; }

pids=()
for n in $(seq "$calls"); do
  "$tandem" call --url "$origin" --seconds 30 >"$logs/$n" 2>&1 &
  pids+=($!)
done
for _ in $(seq 100); do
  [ "$(live)" = "$calls" ] && break
  sleep 0.2
done
echo "calls up: $(live) of $calls; stopping"
docker compose stop >"$logs/stop" 2>&1 &
stop=$!

cut=0
for n in $(seq "$calls"); do
  wait "${pids[n - 1]}" || { cut=$((cut + 1)); tail -n 2 "$logs/$n"; }
done
wait "$stop"
echo "cut: $cut of $calls"
[ "$cut" = 0 ]
