#!/usr/bin/env bash
# A chatbot: an encoder-decoder learns replies from dialogues.
#
#   recipes/chatbot/run.sh --data FILE --exp DIR
#
# Stages: 1 prepare, 2 train, 3 chat, 4 score.  Each can run again; training that was stopped goes
# on.  The result is EXP/score.json; "perplexity" is that of the replies of the held-out dialogues,
# per word piece.
#
# --data is a file with a dialogue a line, its topic and its turns parted by tabs, compressed or
# not, made of the folders of
#   git clone https://github.com/jfainberg/self_dialogue_corpus
# Configurations: chatbot (default), tiny (a smoke test of some seconds on 200 dialogues).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

conf=chatbot
data="${ASR_DATA:+$ASR_DATA/text/dialogues/self_dialogues.tsv.xz}"
parse_options "$@"

sizes=()
if [[ $(basename "$conf" .toml) == tiny ]]; then
    sizes=(--dialogues 200 --held-out 10 --pieces 300)
fi
[[ -n $data ]] || fail "--data FILE is needed: a dialogue a line"

prepare() {
    "$python" "$recipe/prepare.py" "$data" "$exp/text" ${sizes[@]+"${sizes[@]}"}
}

train() {
    "$python" "$recipe/train.py" "$conf" "$exp/text" "$exp/model" \
        ${overrides[@]+"${overrides[@]}"}
}

chat() {
    "$python" "$recipe/chat.py" "$exp/model" "$exp/text/tokenizer" <"$recipe/turns.txt" \
        >"$exp/replies.txt"
    paste -d '\n' "$recipe/turns.txt" "$exp/replies.txt" | sed 'n;s/^/    /'
}

score() {
    "$python" "$recipe/score.py" "$exp" model
}

run_stages prepare train chat score
