#!/usr/bin/env bash
# What a text thinks: Arabic tweets and English film reviews, by LSTMs and pre-trained models.
#
#   recipes/sentiment/run.sh --data DIR --exp DIR
#
# Stages: 1 prepare, 2 train, 3 score.  Each can run again; training that was stopped goes on.
# The results are EXP/score.json and EXP/confusion.png.
#
# --data is the folder with arsarcasm-v2/, astd/, ajgt/ and rt-polarity/ (those that the
# configuration names).  Transformers and AJGT need: pip install "asr-toolkit[sentiment]"
# Configurations: full (default), csv (a file of yours), tiny (a smoke test of some seconds).
# Options of this recipe:
#   --csv FILE           the file of the set `csv`; columns by --set csv.text=... csv.label=...
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(csv)
conf=full csv=""
data="${ASR_DATA:+$ASR_DATA/text}"
parse_options "$@"

if [[ -n $csv ]]; then
    overrides+=(--set "csv.file=\"$csv\"")
    data="${data:-.}"
fi
[[ -n $data ]] || fail "--data DIR is needed: the folder with the folders of the sets"

prepare() {
    "$python" "$recipe/prepare.py" "$conf" "$data" "$exp" ${overrides[@]+"${overrides[@]}"}
}

train() {
    "$python" "$recipe/train.py" "$conf" "$exp" ${overrides[@]+"${overrides[@]}"}
}

score() {
    "$python" "$recipe/score.py" "$exp"
}

run_stages prepare train score
