#!/bin/bash
# Packs the server and its CUDA part for another Linux machine with a GPU: the programs, stripped, and the libraries that
# machine may not have, without the C and C++ libraries, which must be as new there as here. cuBLASLt is the other machine's.
# usage: bench/pack.sh FOLDER [BUILD_DIR]; there: FOLDER/quern ARGS
set -euo pipefail
folder=$(realpath -m "${1:?usage: bench/pack.sh FOLDER [BUILD_DIR]}")
here=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath "${2:-$here/build/cuda}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder" "$work/lib" "$work/bin"
for file in quern libquern_cuda.so http_load; do
  [ ! -f "$build/$file" ] || strip -o "$work/bin/$file" "$build/$file"
done
ldd "$build/quern" | awk '$3 ~ /^\// { print $3 }' |
  grep -v -E '/(libc|libm|libstdc\+\+|libgcc_s|libdl|libpthread|librt)\.so' | xargs -r cp -L -t "$work/lib"
rm -f "$folder/quern.tar.xz"
tar -C "$work" -cf - bin lib | xz -T2 >"$folder/quern.tar.xz"
for file in tokenizer.json tokenizer_config.json config_sentence_transformers.json modules.json 1_Pooling; do
  mkdir -p "$folder/tokenizer"
  cp -r "$here/models/quern-mini/$file" "$folder/tokenizer/"
done
cat >"$folder/quern" <<'LAUNCHER'
#!/bin/bash
# Runs quern, or with --program NAME another of the packed programs, with the libraries beside it and PyTorch's cuBLASLt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
unpacked=${QUERN_UNPACKED:-/tmp/quern-$(cksum <"$here/quern.tar.xz" | cut -d' ' -f1)}
if [ ! -d "$unpacked" ]; then
  mkdir -p "$unpacked.part"
  tar -C "$unpacked.part" -xJf "$here/quern.tar.xz" 2>/dev/null ||
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$here/quern.tar.xz" "$unpacked.part"
  mv "$unpacked.part" "$unpacked"
fi
libraries=${CUBLAS_PATH-$(python3 -c 'import glob, nvidia; print(":".join(glob.glob(list(nvidia.__path__)[0] + "/*/lib")))' 2>/dev/null || true)}
export LD_LIBRARY_PATH=$unpacked/lib:$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
program=quern
if [ "${1:-}" = --program ]; then
  program=$2
  shift 2
fi
exec "$unpacked/bin/$program" "$@"
LAUNCHER
chmod +x "$folder/quern"
du -sh "$folder"
