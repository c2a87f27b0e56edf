#!/usr/bin/env bash
# Listen, attend and spell with joint CTC: an encoder-decoder that recognises connected digits.
#
#   recipes/attention_asr/run.sh --data DIR --exp DIR
#
# Stages: 1 prepare, 2 train, 3 decode, 4 score.  Each can run again; training that was stopped
# goes on.  The result is EXP/score.json; "wer" is that of the joint model, found with a CTC weight
# of 0.7.
#
# --data is the Free Spoken Digit Dataset, as recipes/digits takes it, whose program joins its
# recordings to strings.
# Configurations: full (default), tiny (a smoke test of some seconds, without attention alone).
# Options of this recipe:
#   --models "A B"       ctc (the listener alone), attention (CTC weight 0), joint, which begins with the
#                        listener of ctc (default: all)
#   --width N            of the beam (default: 8)
#   --utterances N       use the last N of each part, which are strings (default: all)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(models width utterances)
conf=full models="" width="" utterances="" digits_conf=digits
data="${ASR_DATA:+$ASR_DATA/fsdd}"
parse_options "$@"

if [[ $(basename "$conf" .toml) == tiny ]]; then
    models="${models:-ctc joint}" utterances="${utterances:-40}" width="${width:-2}"
    digits_conf=tiny
fi
models="${models:-ctc attention joint}" width="${width:-8}"
[[ -n $data ]] || fail "--data DIR is needed: the recordings of the Free Spoken Digit Dataset"
[[ $utterances =~ ^([1-9][0-9]*)?$ ]] || fail "--utterances '$utterances': a number is needed"
[[ $width =~ ^[1-9][0-9]*$ ]] || fail "--width '$width': a number of 1 or more is needed"
for model in $models; do
    [[ $model =~ ^(ctc|attention|joint)$ ]] || fail "--models $model: ctc, attention or joint"
done
manifests="$exp/digits/manifests"
set="connected${utterances:+-last-$utterances}"

prepare() {
    bash "$root/recipes/digits/run.sh" --data "$data" --exp "$exp/digits" --conf "$digits_conf" \
        --stop-stage prepare
    local part
    if [[ -n $utterances ]]; then
        for part in train dev test; do
            tail -n "$utterances" "$manifests/connected-$part.jsonl" >"$manifests/$set-$part.jsonl"
        done
    fi
}

train() {
    local model
    [[ " $models " != *" joint "* || " $models " == *" ctc "* || -d $exp/ctc/best ]] ||
        fail "--models $models: joint begins with the listener of ctc; name ctc before it"
    for model in $models; do
        echo "-- $model"
        train_timed "$model" train_model "$model"
    done
}

train_model() {
    local settings=(
        --set "data.train=$(toml_list "$manifests/$set-train.jsonl")"
        --set "data.dev=$(toml_list "$manifests/$set-dev.jsonl")"
        --set tokenizer.kind=folder --set "tokenizer.folder=$exp/digits/tokenizer"
        ${overrides[@]+"${overrides[@]}"}
    )
    # Who knows where a digit is leaves the speller to learn only how to go from one to the next.
    [[ $1 != joint ]] || settings+=(--init-from "$exp/ctc")
    [[ $1 != attention ]] || settings+=(--set speller.ctc_weight=0.0)
    [[ $1 != ctc ]] || settings+=(--ctc-only)
    "$python" "$recipe/train.py" "$conf" "$exp/$1" "${settings[@]}"
}

decode() {
    local model also
    mkdir -p "$exp/decode"
    for model in $models; do
        if [[ $model == ctc ]]; then
            asr evaluate "$manifests/$set-test.jsonl" --model "$exp/ctc" --worst 0 \
                --output "$exp/decode/ctc.jsonl"
        else
            also=()
            [[ $model != joint ]] || also=(--also 1 0 0.7)
            "$python" "$recipe/decode.py" "$exp/$model" "$manifests/$set-test.jsonl" \
                "$exp/decode/$model.jsonl" --width "$width" --draw "$exp/$model.png" \
                ${also[@]+"${also[@]}"}
        fi
    done
}

score() {
    local model names=()
    for model in $models; do
        names+=("$model")
        [[ $model != joint ]] || names+=(joint-1 joint-0 joint-0.7)
    done
    "$python" "$recipe/score.py" "$exp" "${names[@]}"
}

run_stages prepare train decode score
