#!/usr/bin/env bash
# Pictures drawn by code: one word for one thing, and captions by a CNN and an LSTM.
#
#   recipes/captions/run.sh --exp DIR
#
# Stages: 1 train, 2 score, 3 show.  Each can run again; training that was stopped goes on.  The
# results are EXP/score.json ("exact_match" is that on pairs of things that training never showed
# together) and the pictures EXP/captions.png and EXP/attention.png.
#
# No data is needed (--data is ignored).
# Configurations: full (default), tiny (a smoke test of some seconds).
# Options of this recipe:
#   --models "A B"       plain, convolutions, captions, attention (default: all)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(models)
conf=full models="plain convolutions captions attention"
parse_options "$@"
for model in $models; do
    [[ $model =~ ^(plain|convolutions|captions|attention)$ ]] ||
        fail "--models $model: plain, convolutions, captions or attention"
done

train() {
    # shellcheck disable=SC2086  # words
    "$python" "$recipe/train.py" "$conf" "$exp" $models ${overrides[@]+"${overrides[@]}"}
}

score() {
    # shellcheck disable=SC2086  # words
    "$python" "$recipe/score.py" "$exp" $models
}

show() {
    if [[ " $models " == *" attention "* ]]; then
        "$python" "$recipe/show.py" "$exp" attention "$exp/captions.png" \
            --attention "$exp/attention.png"
    elif [[ " $models " == *" captions "* ]]; then
        "$python" "$recipe/show.py" "$exp" captions "$exp/captions.png"
    fi
}

run_stages train score show
