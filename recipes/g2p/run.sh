#!/usr/bin/env bash
# Letters to phones: an encoder-decoder with attention learns to pronounce from CMUdict.
#
#   recipes/g2p/run.sh --data DIR --exp DIR
#
# Stages: 1 prepare, 2 train, 3 decode, 4 score.  Each can run again; training that was stopped
# goes on.  The result is EXP/score.json; "per" and "wer" are the error rates of phones and of
# words on the 5 % of words that were held out, with the widest beam.
#
# --data is the folder with cmudict.dict, as it comes with
#   git clone https://github.com/cmusphinx/cmudict
# Configurations: g2p (default), tiny (a smoke test of some seconds on 2,000 words).
# Options of this recipe:
#   --words N            use so many words of the dictionary at random (default: all)
#   --widths "A B"       of the beam; 1 is greedy (default: "1 5")
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(words widths)
conf=g2p words="" widths=""
data="${ASR_DATA:+$ASR_DATA/text/cmudict}"
parse_options "$@"

if [[ $(basename "$conf" .toml) == tiny ]]; then
    words="${words:-2000}" widths="${widths:-5}"
fi
words="${words:-0}" widths="${widths:-1 5}"
[[ -n $data ]] || fail "--data DIR is needed: the folder of CMUdict"
[[ $words =~ ^[0-9]+$ ]] || fail "--words '$words': a number is needed"
[[ $widths =~ ^[1-9][0-9]*(\ +[1-9][0-9]*)*$ ]] || fail "--widths '$widths': numbers with spaces"
# One dictionary a width.
decoded=()
for width in $widths; do
    if [[ $width == 1 ]]; then
        decoded+=(greedy)
    else
        decoded+=("beam-$width")
    fi
done

prepare() {
    "$python" "$recipe/prepare.py" "$data" "$exp/dictionaries" --words "$words"
}

train() {
    "$python" "$recipe/train.py" "$conf" "$exp/dictionaries" "$exp/model" \
        ${overrides[@]+"${overrides[@]}"}
}

decode() {
    local number=0 width
    for width in $widths; do
        "$python" "$recipe/pronounce.py" "$exp/model" "$exp/dictionaries/test.dict" \
            "$exp/decode/${decoded[number]}.dict" --width "$width"
        ((number += 1))
    done
}

score() {
    "$python" "$recipe/score.py" "$exp" "${decoded[@]}"
}

run_stages prepare train decode score
