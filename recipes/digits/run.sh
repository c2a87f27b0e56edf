#!/usr/bin/env bash
# Spoken digits: a recogniser in minutes on a CPU, from the Free Spoken Digit Dataset.
#
#   recipes/digits/run.sh --data DIR --exp DIR
#
# Stages: 1 prepare, 2 train, 3 decode, 4 score.  Each can run again; training that was stopped
# goes on.  The result is EXP/score.json; "wer" is the mean over the seeds on the official test.
#
# --data is the folder with DIGIT_SPEAKER_INDEX.flac or .wav, or one above it, as it comes with
#   git clone https://github.com/Jakobovski/free-spoken-digit-dataset
# Configurations: digits (default), tiny (a smoke test of some seconds, seed 0 and two speakers alone).
# Options of this recipe:
#   --seeds "0 1 2"      models for the official split
#   --variants "A B"     further models: loso (each speaker in turn is the test, the others train)
#                        and connected (strings of digits), or none (default: both)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(seeds variants)
conf=digits seeds="" variants="" some=()
data="${ASR_DATA:+$ASR_DATA/fsdd}"
parse_options "$@"

if [[ $(basename "$conf" .toml) == tiny ]]; then
    seeds="${seeds:-0}" variants="${variants:-none}" some=(--speakers 2 --strings 60 40 40)
fi
seeds="${seeds:-0 1 2}" variants="${variants:-loso connected}"
[[ -n $data ]] || fail "--data DIR is needed: the recordings of the Free Spoken Digit Dataset"
[[ $seeds =~ ^[0-9]+(\ +[0-9]+)*$ ]] || fail "--seeds '$seeds': numbers with spaces are needed"
for variant in $variants; do
    [[ $variant =~ ^(loso|connected|none)$ ]] || fail "--variants $variant: loso, connected or none"
done
# Below the official data set's folder other audio may lie.
[[ ! -d $data/recordings ]] || data="$data/recordings"
[[ ! -d $data/fsdd ]] || data="$data/fsdd"

# models: put "NAME SPLIT SEED" of each model into the array $models.
list_models() {
    local seed manifest split
    models=()
    for seed in $seeds; do
        models+=("seed-$seed official $seed")
    done
    if [[ " $variants " == *" loso "* ]]; then
        for manifest in "$exp"/manifests/without-*-test.jsonl; do
            split="$(basename "$manifest" -test.jsonl)"
            models+=("$split $split 0")
        done
    fi
    if [[ " $variants " == *" connected "* ]]; then
        models+=("connected connected 0")
    fi
}

prepare() {
    "$python" "$recipe/prepare.py" "$data" "$exp/manifests" ${some[@]+"${some[@]}"}
    # So many pieces that each digit is one: the whole-word models that small vocabularies have.
    asr prepare --tokenizer bpe --size 52 "$exp/manifests/connected-train.jsonl" \
        --output "$exp/tokenizer"
}

train() {
    local model name split seed
    list_models
    for model in "${models[@]}"; do
        read -r name split seed <<<"$model"
        echo "-- $name"
        train_timed "$name" train_model "$name" "$split" "$seed"
    done
}

train_model() {
    local settings=()
    # An epoch has nearly three times the audio.
    [[ $2 != connected ]] || settings=(--set training.epochs=12)
    asr train "$conf" --exp "$exp/$1" --set "seed=$3" \
        --set "data.train=$(toml_list "$exp/manifests/$2-train.jsonl")" \
        --set "data.dev=$(toml_list "$exp/manifests/$2-dev.jsonl")" \
        --set tokenizer.kind=folder --set "tokenizer.folder=$exp/tokenizer" \
        ${settings[@]+"${settings[@]}"} ${overrides[@]+"${overrides[@]}"}
}

decode() {
    local model name split seed commands=()
    list_models
    mkdir -p "$exp/decode"
    for model in "${models[@]}"; do
        read -r name split seed <<<"$model"
        commands+=(evaluate "$exp/manifests/$split-test.jsonl" --model "$exp/$name" --worst 0
            --output "$exp/decode/$name.jsonl" --)
        # Once more with a beam search that knows no other words.
        [[ $split == official || $split == connected ]] || continue
        commands+=(evaluate "$exp/manifests/$split-test.jsonl" --model "$exp/$name" --worst 0
            --lexicon "$exp/manifests/words.txt" --beta 0 --beam 32
            --output "$exp/decode/words-$name.jsonl" --)
    done
    asr_each "${commands[@]}"
}

score() {
    local model names=()
    list_models
    for model in "${models[@]}"; do
        names+=("${model%% *}")
    done
    "$python" "$recipe/score.py" "$exp" "${names[@]}"
}

run_stages prepare train decode score
