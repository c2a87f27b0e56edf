#!/usr/bin/env bash
# A differentiable neural computer that learns to copy, to recall and to sort.
#
#   recipes/dnc/run.sh --exp DIR
#
# Stages: 1 train, 2 score.  Each can run again; training that was stopped goes on.  The results
# are EXP/score.json and EXP/TASK.png.
#
# No data is needed (--data is ignored): the sequences are made by code.
# Configurations: full (default), tiny (a smoke test of some seconds).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

conf=full
parse_options "$@"

train() {
    "$python" "$recipe/dnc_train.py" "$conf" "$exp" ${overrides[@]+"${overrides[@]}"}
}

score() {
    "$python" "$recipe/dnc_train.py" "$conf" "$exp" --score ${overrides[@]+"${overrides[@]}"}
}

run_stages train score
