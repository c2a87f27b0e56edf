#!/usr/bin/env bash
# Which phone is said in each frame: labels from forced alignment, networks without and with context.
#
#   recipes/frame_labels/run.sh --data DIR --exp DIR
#
# Stages: 1 prepare, 2 align, 3 train, 4 score.  Each can run again; training that was stopped
# goes on.  The results are EXP/score.json ("frame_accuracy" is that of the BiLSTM) and EXP/labels.png.
#
# --data is a folder with subsets of LibriSpeech (openslr.org/12; train-clean-5: openslr.org/31).
# Configurations: full (default), tiny (a smoke test of some seconds).
# Options of this recipe:
#   --train, --dev, --test SUBSET
#                        (default: train-clean-5, dev-clean, test-clean)
#   --each "A B C"       utterances of every speaker of train, dev and test (default: "60 1 3")
#   --speakers N         of each part (default: all)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(train dev test each speakers)
conf=full train=train-clean-5 dev=dev-clean test=test-clean each="" speakers=""
data="${ASR_DATA:+$ASR_DATA/LibriSpeech}"
parse_options "$@"

if [[ $(basename "$conf" .toml) == tiny ]]; then
    each="${each:-1 1 1}" speakers="${speakers:-2}"
fi
each="${each:-60 1 3}" speakers="${speakers:-0}"
[[ -n $data ]] || fail "--data DIR is needed: subsets of LibriSpeech"
[[ $each =~ ^[1-9][0-9]*(\ [1-9][0-9]*){2}$ ]] || fail "--each '$each': three numbers are needed"
[[ $speakers =~ ^[0-9]+$ ]] || fail "--speakers '$speakers': a number is needed"

prepare() {
    # shellcheck disable=SC2086  # numbers
    "$python" "$recipe/prepare.py" "$data" "$exp/manifests" --train "$train" --dev "$dev" \
        --test "$test" --each $each --speakers "$speakers"
}

align() {
    cat "$exp"/manifests/{train,dev,test}.jsonl >"$exp/manifests/all.jsonl"
    asr align "$exp/manifests/all.jsonl" --model default >"$exp/alignments.part"
    mv "$exp/alignments.part" "$exp/alignments.jsonl"
}

train_models() {
    "$python" "$recipe/train.py" "$conf" "$exp" ${overrides[@]+"${overrides[@]}"}
}

score() {
    "$python" "$recipe/score.py" "$exp" mlp bilstm --draw "$exp/labels.png"
}

run_stages prepare align train_models score
