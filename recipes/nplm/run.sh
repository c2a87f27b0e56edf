#!/usr/bin/env bash
# Neural language models: Bengio's feed-forward network and an LSTM, against n-gram models.
#
#   recipes/nplm/run.sh --data FILE --exp DIR
#
# Stages: 1 prepare, 2 ngram, 3 neural, 4 evaluate, 5 score.  Each can run again; training that was
# stopped goes on.  The result is EXP/score.json; "perplexity" is that of the LSTM on the test,
# the end of the text.
#
# --data is a text, a sentence a line, plain or compressed by gzip or xz.
# Configurations: full (default), tiny (a smoke test of some seconds).
# Options of this recipe:
#   --words N            of the text's start to train on (default: 5000000)
#   --vocabulary N       words that all models know (default: 10000); the others are <unk>
#   --orders "A B"       of the n-gram models (default: "3 5")
#   --models "A B"       nplm, lstm (default: both)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(words vocabulary orders models)
conf=full words="" vocabulary="" orders="" models="nplm lstm"
data="${ASR_DATA:+$ASR_DATA/text/lm/gutenberg-20m.txt.xz}"
parse_options "$@"

sizes=(--dev-words 100000 --test-words 300000 --gap-words 200000)
if [[ $(basename "$conf" .toml) == tiny ]]; then
    words="${words:-20000}" vocabulary="${vocabulary:-1000}" orders="${orders:-3}"
    sizes=(--dev-words 2000 --test-words 3000 --gap-words 1000)
fi
words="${words:-5000000}" vocabulary="${vocabulary:-10000}" orders="${orders:-3 5}"
[[ -n $data ]] || fail "--data FILE is needed: a text, a sentence a line"
for option in words vocabulary; do
    [[ ${!option} =~ ^[1-9][0-9]*$ ]] || fail "--$option '${!option}': a number above 0 is needed"
done
[[ $orders == *[1-9]* ]] || fail "--orders '$orders': numbers from 1 to 9 are needed"
for order in $orders; do
    [[ $order =~ ^[1-9]$ ]] || fail "--orders '$orders': numbers from 1 to 9 are needed"
done
for model in $models; do
    [[ $model =~ ^(nplm|lstm)$ ]] || fail "--models '$models': nplm or lstm"
done
text="$exp/text"

prepare() {
    "$python" -m lm split "$data" "$text" --words "$words" --vocabulary "$vocabulary" "${sizes[@]}"
}

ngram() {
    local order
    for order in $orders; do
        "$python" -m lm train "$text/train.txt" --output "$exp/ngram-$order.ngram" \
            --order "$order" --vocabulary "$text/words.txt" --count-unknown --discount-fallback
    done
}

neural() {
    local model
    for model in $models; do
        echo "-- $model"
        "$python" "$recipe/train.py" "$exp/$model" "$text/train.txt" --kind "$model" \
            --dev "$text/dev.txt" --vocabulary "$text/words.txt" --config "$conf" \
            ${overrides[@]+"${overrides[@]}"}
    done
}

evaluate() {
    "$python" "$recipe/evaluate.py" "$exp" "${evaluated[@]}"
}

score() {
    "$python" "$recipe/score.py" "$exp" "${evaluated[@]}"
}

evaluated=()
for order in $orders; do
    evaluated+=("ngram-$order")
done
for model in $models; do
    evaluated+=("$model")
done
run_stages prepare ngram neural evaluate score
