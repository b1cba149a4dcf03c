#!/bin/bash
# Verifies, then times `quern serve` on a GPU over HTTP: vectors against a reference, start, memory, loads of short queries, of
# 512 token ids and of texts, the engine's own rate, both kinds of load together. Prints one table last. About 5 minutes.
# usage: bench/gpu_serve.sh PACKED RESULTS [0.6b|4b|8b] [SERVE FLAGS...]; PACKED is bench/pack.sh's folder; needs python3 with
# torch, transformers and safetensors. MODEL=FOLDER: a checkpoint that is there already. SECONDS_EACH: of each load, 10. CONTEXT, DEVICE: 32768, cuda.
set -euo pipefail
packed=$(realpath "${1:?usage: bench/gpu_serve.sh PACKED RESULTS [SHAPE] [SERVE FLAGS...]}")
mkdir -p "${2:?usage: bench/gpu_serve.sh PACKED RESULTS [SHAPE] [SERVE FLAGS...]}"
results=$(realpath "$2")
shape=${3:-4b}
flags=("${@:4}")
here=$(cd "$(dirname "$0")" && pwd)
each=${SECONDS_EACH:-10}
model=${MODEL:-/tmp/quern-serve-$shape}
context=(--context-length "${CONTEXT:-32768}")
device=${DEVICE:-cuda}
server=
trap '[ -z "$server" ] || kill "$server"' EXIT

say() { printf '%4d s  %s\n' "$SECONDS" "$*" >&2; }
ask() { python3 "$here/gpu_serve.py" "$@"; }
used_mib() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -i 0; }
load() { # name, clients, bodies, [seconds]
  "$packed/quern" --program http_load "$port" "$2" "${4:-$each}" "$results/$3.bodies" 2 >"$results/$1" || say "$1: failed"
  say "$1: $(cat "$results/$1")"
}

nvidia-smi --query-gpu=name,driver_version,power.limit,clocks.max.sm,memory.used --format=csv,noheader | tee "$results/card" >&2
if [ ! -f "$model/reference.bin" ]; then
  python3 "$here/gpu_reference.py" --shape "$shape" --seconds 0 --texts 64 --long "${CONTEXT:-32768}" --end-token "$(ask end "$packed/tokenizer")" "$model" >&2
  cp -r "$packed/tokenizer/." "$model/"
fi
"$packed/quern" --version >"$results/version" # unpacks
cat "$model"/*.safetensors >/dev/null         # the page cache
say "the checkpoint is there"

rm -f "$results/port"
begin=$(date +%s.%N)
"$packed/quern" serve --device "$device" --model-path "$model" "${context[@]}" --served-model-name '*' --port 0 --port-file "$results/port" \
  --http-threads 4 "${flags[@]}" 2>"$results/server.log" &
server=$!
until [ -f "$results/port" ]; do
  kill -0 "$server" || { tail -3 "$results/server.log" >&2; exit 1; }
  sleep 0.01
done
port=$(cat "$results/port")
ask first "$port" "$begin" >"$results/first"
say "first vector after $(cat "$results/first") s"
ask quality "$port" "$model" >"$results/quality"
say "lowest cosine $(cat "$results/quality")"
used_mib >"$results/memory"
ask bodies "$results" "$port"
load load_12x1 1 12 5
load load_12x32 32 12
load load_12x256 256 12
load load_512 64 512
load load_texts 64 texts
load mixed_512 64 512 $((2 * each)) &
mixed=$!
sleep 3
load mixed_12 4 12 $((2 * each - 4))
wait "$mixed"
used_mib >>"$results/memory"
curl -s "http://127.0.0.1:$port/metrics" >"$results/metrics" || true
kill "$server"
wait "$server" || say "the server ended with $?"
server=
"$packed/quern" bench --device "$device" --model-path "$model" "${context[@]}" --cases 512x64,12x256 --seconds "$each" >"$results/engine" ||
  say "bench failed"
say "engine: $(tail -2 "$results/engine" | tr '\n' ' ')"
ask table "$results" | tee "$results/table"
