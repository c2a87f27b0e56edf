#!/usr/bin/env bash
# Makes the environments of the decoders that tools/bench_decode.py compares with.
#
#   tools/make_peers.sh [FOLDER]      default: .data/peers
#
# Each has its own: pyctcdecode needs an older numpy.  kenlm compiles; it needs g++ and cmake.
set -euo pipefail

readonly FOLDER="${1:-.data/peers}"
readonly PYTHON="${PYTHON:-python3}"

make() {
    local name="$1"
    shift
    echo "make_peers: $name"
    "$PYTHON" -m venv "$FOLDER/$name"
    "$FOLDER/$name/bin/pip" install --quiet "$@"
}

make flashlight "flashlight-text==0.0.7" numpy
make pyctcdecode "pyctcdecode==0.5.0" kenlm "numpy<2"
echo "make_peers: now run python tools/bench_decode.py --peers $FOLDER"
