#!/usr/bin/env bash
# English to German: an encoder-decoder without and with attention, on Multi30k.
#
#   recipes/translation/run.sh --data DIR --exp DIR
#
# Stages: 1 prepare, 2 train, 3 decode, 4 score.  Each can run again; training that was stopped
# goes on.  The result is EXP/score.json; "bleu" is that of the attention model on the 2016 test.
# The score needs sacrebleu: pip install sacrebleu
#
# --data is the folder with train.en.gz, train.de.gz, val.en.gz, ..., as data/task1/raw in
#   git clone https://github.com/multi30k/dataset
# Configurations: translation (default), short (two epochs), tiny (a smoke test of some seconds,
# attention alone on 200 pairs).
# Options of this recipe:
#   --models "A B"       plain, attention (default: both)
#   --width N            of the beam (default: 5)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(models width)
conf=translation models="" width=""
data="${ASR_DATA:+$ASR_DATA/text/multi30k-en-de}"
parse_options "$@"

sizes=()
if [[ $(basename "$conf" .toml) == tiny ]]; then
    sizes=(--pairs 200 --pieces 300) models="${models:-attention}" width="${width:-2}"
fi
width="${width:-5}"
models="${models:-plain attention}"
[[ -n $data ]] || fail "--data DIR is needed: the folder of Multi30k's raw text"
[[ $width =~ ^[1-9][0-9]*$ ]] || fail "--width '$width': a number of 1 or more is needed"
for model in $models; do
    [[ $model =~ ^(plain|attention)$ ]] || fail "--models $model: plain or attention"
done

prepare() {
    "$python" "$recipe/prepare.py" "$data" "$exp/text" ${sizes[@]+"${sizes[@]}"}
}

train() {
    local model attention
    for model in $models; do
        echo "-- $model"
        attention=true
        [[ $model == attention ]] || attention=false
        "$python" "$recipe/train.py" "$conf" "$exp/text" "$exp/$model" \
            --set "model.attention=$attention" ${overrides[@]+"${overrides[@]}"}
    done
}

decode() {
    local model options
    for model in $models; do
        options=()
        [[ $model != attention ]] || options=(--draw "$exp/attention.png")
        "$python" "$recipe/translate.py" "$exp/$model" "$exp/text/tokenizer" "$exp/text/test.en" \
            "$exp/decode/$model.de" --width "$width" ${options[@]+"${options[@]}"}
    done
}

score() {
    # shellcheck disable=SC2086  # several names
    "$python" "$recipe/score.py" "$exp" $models
}

run_stages prepare train decode score
