#!/usr/bin/env bash
# Builds kenlm's lmplz and build_binary from kenlm's own source distribution.
#
#   tools/build_lmplz.sh [FOLDER]      programs go to FOLDER/bin (default: ~/.local)
#
# Needs pip and, on Debian or Ubuntu:
#   apt-get install g++ make cmake libboost-program-options-dev libboost-system-dev \
#       libboost-thread-dev libboost-test-dev libeigen3-dev zlib1g-dev libbz2-dev liblzma-dev
set -euo pipefail

readonly VERSION=0.3.0
readonly PREFIX="${1:-$HOME/.local}"
readonly PYTHON="${PYTHON:-python3}"

for program in "$PYTHON" cmake make g++; do
    if ! command -v "$program" >/dev/null; then
        echo "build_lmplz: $program is not installed; see the head of $0" >&2
        exit 2
    fi
done

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

echo "build_lmplz: fetching kenlm $VERSION"
"$PYTHON" -m pip download --quiet --no-deps --no-binary kenlm --dest "$work" "kenlm==$VERSION"
tar -xzf "$work/kenlm-$VERSION.tar.gz" -C "$work"

echo "build_lmplz: compiling"
if ! cmake -S "$work/kenlm-$VERSION" -B "$work/build" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_POLICY_VERSION_MINIMUM=3.5 >"$work/log" 2>&1 ||
    ! cmake --build "$work/build" --target lmplz build_binary -j "${JOBS:-$(nproc)}" \
        >>"$work/log" 2>&1; then
    tail -n 30 "$work/log" >&2
    echo "build_lmplz: the build failed; are the packages named at the head of $0 there?" >&2
    exit 1
fi

mkdir -p "$PREFIX/bin"
install -m 755 "$work/build/bin/lmplz" "$work/build/bin/build_binary" "$PREFIX/bin/"
if ! printf 'a b\n' | "$PREFIX/bin/lmplz" -o 2 -S 64M --discount_fallback 2>"$work/log" |
    grep '^ngram 2=' >/dev/null; then
    cat "$work/log" >&2
    echo "build_lmplz: $PREFIX/bin/lmplz does not run" >&2
    exit 1
fi
echo "build_lmplz: wrote $PREFIX/bin/lmplz and $PREFIX/bin/build_binary"
case ":$PATH:" in
    *":$PREFIX/bin:"*) ;;
    *) echo "build_lmplz: add it to PATH: export PATH=\"$PREFIX/bin:\$PATH\"" ;;
esac
