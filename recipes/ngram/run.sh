#!/usr/bin/env bash
# N-gram models: counts, relative frequencies, Kneser-Ney, perplexity by order and amount of text.
#
#   recipes/ngram/run.sh --data FILE --exp DIR
#
# Stages: 1 prepare, 2 estimate, 3 compare, 4 score.  Each can run again; estimate goes on with the
# models that are missing.  The results are EXP/score.json ("perplexity" is that of the highest
# order) and EXP/perplexity.png.
#
# --data is a text, a sentence a line, plain or compressed by gzip or xz; its end is the test.
# The stage compare needs KenLM's lmplz on PATH (tools/build_lmplz.sh builds it) and does nothing
# without.
# Configurations: full (default), tiny (a smoke test of some seconds).
# Options of this recipe:
#   --words N            of the text's start to train on (default: 0, all that is not for the test)
#   --vocabulary N       words that the models know (default: 10000); the others are <unk>
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(words vocabulary)
conf=full words="" vocabulary=""
data="${ASR_DATA:+$ASR_DATA/text/lm/gutenberg-20m.txt.xz}"
parse_options "$@"

# The vocabulary is that of recipes/nplm, so that their figures can be compared.
sizes=(--test-words 300000 --gap-words 200000 --vocabulary-from 5000000)
if [[ $(basename "$conf" .toml) == tiny ]]; then
    words="${words:-40000}" vocabulary="${vocabulary:-1000}"
    sizes=(--test-words 5000 --gap-words 1000)
fi
words="${words:-0}" vocabulary="${vocabulary:-10000}"
[[ -n $data ]] || fail "--data FILE is needed: a text, a sentence a line"
[[ $words =~ ^[0-9]+$ ]] || fail "--words '$words': a number is needed"
[[ $vocabulary =~ ^[1-9][0-9]*$ ]] || fail "--vocabulary '$vocabulary': a number above 0 is needed"

prepare() {
    "$python" -m lm split "$data" "$exp/text" --words "$words" --vocabulary "$vocabulary" \
        "${sizes[@]}"
}

estimate() {
    "$python" "$recipe/estimate.py" "$conf" "$exp" ${overrides[@]+"${overrides[@]}"}
}

compare() {
    "$python" "$recipe/compare.py" "$conf" "$exp" ${overrides[@]+"${overrides[@]}"}
}

score() {
    "$python" "$recipe/score.py" "$exp"
}

run_stages prepare estimate compare score
