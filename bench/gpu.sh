#!/bin/bash
# Verifies, then times a model's exact shape on a GPU, beside what the library's bare products and attention reach in the
# same run. usage: bench/gpu.sh [0.6b|4b|8b] [--dtype bf16|f16|fp8] [BUILD_DIR]; needs python3 with torch, transformers
# and safetensors.
set -euo pipefail
shape=4b dtype=bf16 build=build/cuda
while [ $# -gt 0 ]; do
  case $1 in
    0.6b | 4b | 8b) shape=$1 ;;
    --dtype) dtype=$2 && shift ;;
    *) build=$1 ;;
  esac
  shift
done
build=$(realpath "$build")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nvidia-smi --query-gpu=name,driver_version,power.limit,clocks.max.sm --format=csv,noheader
python3 "$here/gpu_reference.py" --shape "$shape" --dtype "$dtype" "$work"
# PyTorch brings cuBLAS with it, where the machine has none of its own.
libraries=$(python3 -c 'import glob, nvidia; print(":".join(glob.glob(nvidia.__path__[0] + "/*/lib")))' 2>/dev/null || true)
LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:$libraries QUERN_CUDA_LIBRARY=$build/libquern_cuda.so \
  "$build/gpu_bench" "$work" 6 "$dtype"
