#!/usr/bin/env bash
# Adapt a trained model to one voice, room or vocabulary: a folder of audio and transcripts in,
# a better model and its error rates out.
#
#   recipes/finetune/run.sh --data DATA --exp DIR
#
# Stages: 1 prepare, 2 check, 3 split, 4 train, 5 tune, 6 decode, 7 score.  Each can run again;
# training that was stopped goes on.  The result is EXP/score.json, the model EXP/after/best,
# which takes the given model's language model with it; "wer" is that of the adapted model on the
# held-out tenth, decoded as `asr transcribe` does.
#
# --data is what `asr prepare` takes: a folder with audio and a .txt beside each file, a table
# (CSV or TSV), the layout of LibriSpeech or of Kaldi.  What cannot be used is named and left out.
# Configurations: finetune (default), tiny (a smoke test: a few updates, not from scratch).
# Options of this recipe:
#   --from MODEL         the model to adapt (default: that of the package)
#   --models "A B"       before, after, scratch: what is measured (default: all three);
#                        scratch has the same data and units, but starts from random weights, with
#                        the architecture in the configuration: that of the model in the package
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(from models)
conf=finetune from=default models="" tune_options=()
data="${ASR_DATA:+$ASR_DATA/vctk_p239/manifest.tsv}"
parse_options "$@"

if [[ $(basename "$conf" .toml) == tiny ]]; then
    models="${models:-before after}" tune_options=(--rounds 1 --prior-scale 0)
fi
models="${models:-before after scratch}"
[[ -n $data ]] || fail "--data DATA is needed: a folder with audio and transcripts, or a table"
for model in $models; do
    [[ $model =~ ^(before|after|scratch)$ ]] || fail "--models $model: before, after or scratch"
done

prepare() {
    asr prepare "$data" --text normalize --skip-bad --output "$exp/manifests/all.jsonl"
}

check() {
    asr prepare --check "$exp/manifests/all.jsonl" --model "$from"
}

split() {
    "$python" "$recipe/split.py" "$exp/manifests/all.jsonl" "$exp/manifests"
}

train() {
    local model
    for model in $models; do
        case "$model" in
            after) train_timed after train_model after --init-from "$from" ;;
            scratch)
                train_timed scratch train_model scratch --set training.epochs=60 \
                    --set features.hop_ms=7.5 \
                    --set tokenizer.kind=folder --set "tokenizer.folder=$(folder_of "$from")"
                ;;
        esac
    done
}

# folder_of MODEL: where it lies; one that the package brings goes by its name.
folder_of() {
    "$python" -c 'import sys; from asr.model_folders import find_model; print(find_model(sys.argv[1]))' \
        "$1"
}

train_model() {
    local name="$1"
    shift
    asr train "$conf" --exp "$exp/$name" "$@" \
        --set "data.train=$(toml_list "$exp/manifests/train.jsonl")" \
        --set "data.dev=$(toml_list "$exp/manifests/dev.jsonl")" \
        ${overrides[@]+"${overrides[@]}"}
}

# The adapted model is surer of itself: its language model weighs anew, found on the dev tenth.
tune() {
    local decoding model
    decoding="$(folder_of "$from")/decoding.toml"
    if [[ ! -e $decoding ]]; then
        echo "$from has no language model: all is decoded greedily"
        return
    fi
    for model in $models; do
        [[ $model != before ]] || continue
        echo "-- $model"
        asr tune "$exp/manifests/dev.jsonl" --model "$exp/$model/best" --decoding "$decoding" --copy \
            ${tune_options[@]+"${tune_options[@]}"}
    done
}

decode() {
    local model folder commands=()
    mkdir -p "$exp/decode"
    for model in $models; do
        folder="$exp/$model/best"
        [[ $model != before ]] || folder="$from"
        commands+=(evaluate "$exp/manifests/test.jsonl" --model "$folder" --greedy --worst 0
            --output "$exp/decode/$model-greedy.jsonl" --)
        commands+=(evaluate "$exp/manifests/test.jsonl" --model "$folder" --worst 0
            --output "$exp/decode/$model.jsonl" --)
    done
    asr_each "${commands[@]}"
}

score() {
    # shellcheck disable=SC2086  # a list of words
    "$python" "$recipe/score.py" "$exp" $models
}

run_stages prepare check split train tune decode score
