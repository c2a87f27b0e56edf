#!/usr/bin/env bash
# word2vec: word vectors by CBOW and skip-gram, with negative sampling and with a full softmax.
#
#   recipes/word2vec/run.sh --data DIR --exp DIR
#
# Stages: 1 prepare, 2 train, 3 evaluate, 4 map, 5 score.  Each can run again; training that was
# stopped goes on.  The results are EXP/score.json ("analogies" is the share of Google's analogy
# questions that the first model answers), EXP/map.png and the vectors in EXP/skipgram and others,
# which words.py asks.
#
# --data is a folder with lm/gutenberg-20m.txt.xz and word-vectors/, or a text, a sentence a line.
# Configurations: full (default), tiny (a smoke test of some seconds).
# Options of this recipe:
#   --tests DIR          questions-words.txt and pairs of words (default: word-vectors/ of --data;
#                        without it the stage evaluate does nothing)
#   --models "A B"       instead of the configuration's
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(tests models)
conf=full tests="" models=""
data="${ASR_DATA:+$ASR_DATA/text}"
parse_options "$@"
[[ -n $data ]] || fail "--data is needed: a folder with lm/gutenberg-20m.txt.xz, or a text"
if [[ -d $data ]]; then
    tests="${tests:-$data/word-vectors}"
    data="$data/lm/gutenberg-20m.txt.xz"
fi
if [[ -n $models ]]; then
    # shellcheck disable=SC2086  # words of the option
    overrides+=(--set "models=$(toml_list $models)")
else
    models="$("$python" -c 'import sys, tomllib; c = tomllib.load(open(sys.argv[1], "rb"))
print(*c["models"])' "$conf")"
fi
read -ra trained <<<"$models"
folders=()
for name in "${trained[@]}"; do
    [[ $name == small-* ]] || folders+=("$exp/$name")
done

prepare() {
    "$python" "$recipe/prepare.py" "$conf" "$data" "$exp" ${overrides[@]+"${overrides[@]}"}
}

train() {
    "$python" "$recipe/train.py" "$conf" "$exp" ${overrides[@]+"${overrides[@]}"}
}

evaluate() {
    if [[ ! -d $tests || ${#folders[@]} == 0 ]]; then
        echo "no folder of tests or no vectors of the whole vocabulary: nothing to ask"
        return
    fi
    "$python" "$recipe/evaluate.py" "$tests" "${folders[@]}"
}

map() {
    "$python" "$recipe/draw_map.py" "$conf" "$exp" ${overrides[@]+"${overrides[@]}"}
}

score() {
    "$python" "$recipe/score.py" "$exp" "${trained[@]}"
}

run_stages prepare train evaluate map score
