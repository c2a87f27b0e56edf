#!/usr/bin/env bash
# Text a character at a time: the classic LSTM over windows, and a stacked one over the whole text.
#
#   recipes/text_generation/run.sh --data DIR --exp DIR
#
# Stages: 1 train, 2 score.  Each can run again; training that was stopped goes on.  The results
# are EXP/score.json (bits per held-out character), EXP/bits.png and EXP/classic/samples.txt.
#
# --data is the folder with nietzsche.txt, or any UTF-8 text file.
# Configurations: full (default), short (few epochs on a CPU), tiny (a smoke test).
# Options of this recipe:
#   --model NAME         classic, modern or both (default): what stage 1 trains
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

# shellcheck disable=SC2034  # read by parse_options
extra_options=(model)
conf=full model=both
data="${ASR_DATA:+$ASR_DATA/text}"
parse_options "$@"
[[ -n $data ]] || fail "--data DIR is needed: the folder with nietzsche.txt, or a text file"
[[ ! -d $data ]] || data="$data/nietzsche.txt"
[[ -f $data ]] || fail "--data: there is no $data"

train() {
    "$python" "$recipe/textgen.py" train "$data" "$conf" "$exp" --model "$model" \
        ${overrides[@]+"${overrides[@]}"}
}

score() {
    "$python" "$recipe/textgen.py" score "$data" "$conf" "$exp" ${overrides[@]+"${overrides[@]}"}
}

run_stages train score
