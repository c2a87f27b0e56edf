#!/usr/bin/env bash
# Summaries of papers in one sentence: an encoder-decoder with attention reads abstracts.
#
#   recipes/summarization/run.sh --data DIR --exp DIR
#
# Stages: 1 prepare, 2 train, 3 decode, 4 score.  Each can run again; training that was stopped
# goes on.  The result is EXP/score.json; "rouge_l" is the F1 of ROUGE-L on the test.  The score
# needs rouge-score: pip install rouge-score
#
# --data is the folder with train.jsonl, dev.jsonl and test.jsonl, as SciTLDR-Data/SciTLDR-A in
#   git clone https://github.com/allenai/scitldr
# Configurations: summarization (default), tiny (a smoke test of some seconds on 40 papers).
# Options of this recipe:
#   --width N            of the beam (default: 5)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(width)
conf=summarization width=""
data="${ASR_DATA:+$ASR_DATA/text/scitldr}"
parse_options "$@"

sizes=()
if [[ $(basename "$conf" .toml) == tiny ]]; then
    sizes=(--papers 40 --pieces 800) width="${width:-2}"
fi
width="${width:-5}"
[[ -n $data ]] || fail "--data DIR is needed: the folder of SciTLDR-A"
[[ $width =~ ^[1-9][0-9]*$ ]] || fail "--width '$width': a number of 1 or more is needed"

prepare() {
    "$python" "$recipe/prepare.py" "$data" "$exp/text" ${sizes[@]+"${sizes[@]}"}
}

train() {
    "$python" "$recipe/train.py" "$conf" "$exp/text" "$exp/model" \
        ${overrides[@]+"${overrides[@]}"}
}

decode() {
    "$python" "$recipe/summarize.py" "$exp/model" "$exp/text/tokenizer" \
        "$exp/text/test.abstract" "$exp/decode/model.summary" --width "$width"
}

score() {
    "$python" "$recipe/score.py" "$exp" model
}

run_stages prepare train decode score
