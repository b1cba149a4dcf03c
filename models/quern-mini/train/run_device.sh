#!/bin/bash
# Step 5, on a machine with one or more GPUs: starts train.py once, beside the calls that wait for it.
#
#   models/quern-mini/train/run_device.sh PACK OUT WAIT_SECONDS TRAIN_SECONDS
#
# Called again while it runs, it only waits, so that one long training may be watched from several short commands.
set -u
pack=$1 out=$2 wait_seconds=$3 train_seconds=$4 begin=$SECONDS
work=/tmp/qm-train
cd "$(dirname "$0")" || exit
if [ ! -e "$work/pid" ]; then
  mkdir -p "$work/out"
  export TOKENIZERS_PARALLELISM=true PYTHONUNBUFFERED=1
  cp -r . "$work/train"; cp -r "$pack" "$work/pack"
  (cd "$work/train" && setsid -f nohup python3 -m torch.distributed.run --nproc_per_node="$(nvidia-smi -L | wc -l)" \
    train.py "$work/pack" "$work/out" runs_final.json "$train_seconds" \
    > "$work/log" 2>&1 < /dev/null)
  while [ ! -e "$work/pid" ] && [ $((SECONDS - begin)) -lt 60 ]; do sleep 1; done
fi
while kill -0 "$(cat "$work/pid")" 2>/dev/null && [ $((SECONDS - begin)) -lt "$wait_seconds" ]; do sleep 1; done
cp "$work"/out/* "$work/log" "$out"/ 2>/dev/null
tail -n 25 "$work/log" | cut -c 1-300
