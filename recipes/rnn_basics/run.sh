#!/usr/bin/env bash
# Recurrence from first principles: counting, gradients through time, gates, and long memory.
#
#   recipes/rnn_basics/run.sh --exp DIR
#
# Stages: 1 learn, 2 score.  Each can run again; cells that were trained already are not trained
# again.  The results are EXP/score.json and EXP/*.png.
#
# No data is needed (--data is ignored): the sequences are made by code.
# Configurations: full (default), tiny (a smoke test of some seconds).
# Options of this recipe:
#   --lessons "A B"      of counting, gradients, memory, gates (default: all, in this order)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

# shellcheck disable=SC2034  # read by parse_options
extra_options=(lessons)
conf=full lessons="counting gradients memory gates"
parse_options "$@"

learn() {
    # shellcheck disable=SC2086  # one word a lesson
    "$python" "$recipe/lessons.py" "$conf" "$exp" $lessons ${overrides[@]+"${overrides[@]}"}
}

score() {
    "$python" "$recipe/lessons.py" "$conf" "$exp" score
}

run_stages learn score
