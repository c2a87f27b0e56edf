#!/usr/bin/env bash
# LibriSpeech: from the public archives to a recogniser and its word error rate.
#
#   recipes/librispeech/run.sh --data DIR --exp DIR [--conf ctc_100h]
#
# Stages: 1 download, 2 prepare, 3 tokenizer, 4 train, 5 lm, 6 tune, 7 decode, 8 score.  Each can
# run again; training that was stopped goes on.  The result is EXP/score.json, the model
# EXP/model/best.
#
# --data is the folder of the subsets, or the one that has (or gets) it as LibriSpeech/; the audio
# may be .flac or another format.  What is not there is downloaded (ctc_100h: 8 GB, ctc_960h: 62 GB).
# The configuration decides which subsets are used and which units are recognised:
#   tiny        a smoke test: the shortest utterances of train-clean-5, some seconds on a CPU
#   small       train-clean-5 and train-clean-100-part, characters, hours on a CPU
#   phones      the same speech as phones, as the package's model: CR-CTC, CTC-CRF; one GPU
#   ctc_100h    train-clean-100, 500 word pieces, one GPU
#   ctc_960h    all 960 hours, 1000 word pieces, several GPUs: --processes 8
# Options of this recipe:
#   --train, --dev, --test "A B"   other subsets; the WER of the first test subset is "wer"
#   --units KIND                   characters, bpe, unigram or phones
#   --n-units N                    number of word pieces
#   --dictionary FILE              phones: pronunciations of the words of the training texts and of
#                                  the n-gram model, as recipes/g2p/pronounce.py writes them
#   --pronouncer MODEL             phones: the model keeps this network of recipes/g2p, which
#                                  pronounces words outside the dictionary (else they are spelled)
#   --processes N                  training processes, one for each GPU (default: 1)
#   --base-url URL                 another mirror of the archives
#   --checksums FILE               sha256sum of its archives, where it packed them anew
#   --lm FILE                      n-gram model: ARPA or table; "official" is downloaded, "none"
#                                  decodes greedily only (default: official; tiny: none)
#   --lm-text "A B"                train a word 3-gram on these texts instead
#   --neural FOLDER                a neural language model (python -m lm train), which is fused,
#                                  and rescores n-best lists to compare
#   --neural-text "A B"            train one of words on these texts instead, an hour of a CPU core
#   --neural-conf NAME             how: conf/NAME.toml (default: lstm_lm)
#   --model NAME                   tune and decode this model instead of EXP/model
#   --noise FOLDER                 clips of noise the model was not trained with: the test subsets
#                                  count three times, as they are, with noise at 10 dB, by telephone
#   --also "A.jsonl B.jsonl"       further test sets
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../../tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"

extra_options=(train dev test units n-units dictionary pronouncer processes base-url checksums lm lm-text neural
    neural-text neural-conf model noise also)
conf=ctc_100h train="" dev="" test="" units="" n_units="" dictionary="" pronouncer="" processes=1 base_url="" checksums=""
lm=official lm_text="" neural="" neural_text="" neural_conf=lstm_lm model="" noise="" also="" official_lm=3-gram.pruned.1e-7.arpa.gz
n_shortest=0 tune_options=()
data="${ASR_DATA:+$ASR_DATA/LibriSpeech}"
parse_options "$@"

case "$(basename "$conf" .toml)" in
    tiny)
        n_shortest=16 tune_options=(--rounds 1)
        [[ $lm != official ]] || lm=none
        defaults=(train-clean-5 dev-clean-20spk test-clean-10spk characters 0)
        ;;
    small)
        defaults=("train-clean-5 train-clean-100-part" "dev-clean-20spk dev-100spk"
            test-clean-10spk characters 0)
        ;;
    phones)
        defaults=("train-clean-5 train-clean-100-part" "dev-clean-20spk dev-100spk"
            test-clean-10spk phones 0)
        ;;
    ctc_960h)
        defaults=("train-clean-100 train-clean-360 train-other-500" "dev-clean dev-other"
            "test-clean test-other" bpe 1000)
        ;;
    *) defaults=(train-clean-100 "dev-clean dev-other" "test-clean test-other" bpe 500) ;;
esac
read -ra train_sets <<<"${train:-${defaults[0]}}"
read -ra dev_sets <<<"${dev:-${defaults[1]}}"
read -ra test_sets <<<"${test:-${defaults[2]}}"
read -ra also_sets <<<"$also"
# What is decoded and scored beside the dev subsets.
scored_sets=("${test_sets[@]}")
for subset in "${test_sets[@]}"; do
    [[ -z $noise ]] || scored_sets+=("$subset-noise-10dB" "$subset-telephone")
done
for manifest in ${also_sets[@]+"${also_sets[@]}"}; do
    scored_sets+=("$(basename "$manifest" .jsonl)")
done
model="${model:-$exp/model}"
[[ -z $neural_text ]] || neural="$exp/lstm_lm"
units="${units:-${defaults[3]}}"
n_units="${n_units:-${defaults[4]}}"
[[ -n $data ]] || fail "--data DIR is needed: where LibriSpeech is, or shall be downloaded to"
[[ $units =~ ^(characters|bpe|unigram|phones)$ ]] ||
    fail "--units $units: characters, bpe, unigram or phones"
[[ $units != phones || -n $dictionary ]] || fail "--units phones needs --dictionary FILE"
[[ $processes =~ ^[1-9][0-9]*$ ]] || fail "--processes $processes: a number from 1 is needed"

# The folder of the subsets: DATA itself where one of them is there, else what is in it.
corpus="$data/LibriSpeech"
if [[ ! -d $corpus ]]; then
    for subset in "${train_sets[@]}" "${dev_sets[@]}" "${test_sets[@]}"; do
        [[ ! -d $data/$subset ]] || corpus="$data"
    done
    [[ $(basename "$data") != LibriSpeech ]] || corpus="$data"
fi

# manifests SUBSET...: put their paths into the array $files.
manifests() {
    files=()
    local subset
    for subset in "$@"; do
        files+=("$exp/manifests/$subset.jsonl")
    done
}

download() {
    "$python" "$recipe/download.py" "$corpus" "${train_sets[@]}" "${dev_sets[@]}" \
        "${test_sets[@]}" ${base_url:+--base-url "$base_url"} ${checksums:+--checksums "$checksums"}
}

prepare() {
    "$python" "$recipe/prepare.py" "$corpus" "$exp/manifests" --train "${train_sets[@]}" \
        --dev "${dev_sets[@]}" --test "${test_sets[@]}" --n-shortest "$n_shortest" \
        ${also_sets[@]+--also "${also_sets[@]}"}
    [[ -n $noise ]] || return 0
    local subset
    for subset in "${test_sets[@]}"; do
        "$python" "$recipe/degrade.py" "$exp/manifests/$subset.jsonl" "$exp/manifests" \
            --noise "$noise" --snr 10 --telephone
    done
}

tokenizer() {
    if [[ $units == characters ]]; then
        echo "characters need no training"
        return
    fi
    manifests "${train_sets[@]}"
    if [[ $units == phones ]]; then
        local unknown=(--spell-unknown)
        [[ -z $pronouncer ]] || unknown=(--pronouncer "$pronouncer")
        asr prepare --tokenizer phones --word-ends "${unknown[@]}" --lexicon "$dictionary" \
            "${files[@]}" --output "$exp/tokenizer"
        return
    fi
    asr prepare --tokenizer "$units" --size "$n_units" "${files[@]}" --output "$exp/tokenizer"
}

train() {
    local settings
    manifests "${train_sets[@]}"
    settings=(--set "data.train=$(toml_list "${files[@]}")")
    manifests "${dev_sets[@]}"
    settings+=(--set "data.dev=$(toml_list "${files[@]}")")
    if [[ $units != characters ]]; then
        settings+=(--set tokenizer.kind=folder --set "tokenizer.folder=$exp/tokenizer")
    fi
    settings+=(${overrides[@]+"${overrides[@]}"})
    if ((processes > 1)); then
        "$python" -m torch.distributed.run --standalone --nproc-per-node "$processes" \
            -m asr train "$conf" --exp "$exp/model" "${settings[@]}"
    else
        asr train "$conf" --exp "$exp/model" "${settings[@]}"
    fi
}

lm() {
    if [[ -n $neural_text ]]; then
        local texts
        read -ra texts <<<"$neural_text"
        "$python" -m lm train "${texts[@]}" --kind lstm --normalize \
            --config "$recipe/conf/$neural_conf.toml" -o "$neural"
    fi
    ngram
}

ngram() {
    local source="$lm"
    if [[ -n $lm_text ]]; then
        local texts
        read -ra texts <<<"$lm_text"
        "$python" -m lm train "${texts[@]}" -o "$exp/words.ngram" --order 3 --normalize \
            --vocabulary-size 200000
        return
    fi
    if [[ $lm == none ]]; then
        echo "no language model"
        return
    fi
    if [[ $lm == official ]]; then
        "$python" "$recipe/download.py" "$corpus" --language-model "$official_lm"
        source="$corpus/$official_lm"
    fi
    "$python" -m lm convert "$source" "$exp/words.ngram"
}

tune() {
    if [[ ! -e $exp/words.ngram ]]; then
        echo "no language model, nothing to tune"
        return
    fi
    manifests "${dev_sets[@]}"
    asr tune "${files[@]}" --model "$model" --lm "$exp/words.ngram" --output "$exp/ngram" \
        ${tune_options[@]+"${tune_options[@]}"}
    if [[ -n $neural ]]; then
        asr tune "${files[@]}" --model "$model" --lm "$exp/words.ngram" --neural "$neural" \
            --rescore --output "$exp/rescored"
        asr tune "${files[@]}" --model "$model" --lm "$exp/words.ngram" --neural "$neural" \
            --output "$exp/neural"
    fi
}

# evaluation NAME OPTION...: add to the array $commands what leaves hypotheses of all dev and test
# subsets in EXP/decode/NAME.
evaluation() {
    local name="$1"
    shift
    mkdir -p "$exp/decode/$name"
    manifests "${dev_sets[@]}" "${scored_sets[@]}"
    commands+=(evaluate "${files[@]}" --model "$model" --worst 3 --json
        --output "$exp/decode/$name" "$@" --)
}

decode() {
    local name commands=()
    evaluation greedy --greedy
    for name in ngram rescored neural; do
        if [[ -e $exp/$name/decoding.toml ]]; then
            evaluation "$name" --decoding "$exp/$name/decoding.toml"
        fi
    done
    asr_each "${commands[@]}" >/dev/null
}

score() {
    "$python" "$recipe/score.py" "$exp" --test "${scored_sets[@]}" --dev "${dev_sets[@]}"
    if [[ -n $neural && -e $exp/words.ngram ]]; then
        manifests "${dev_sets[@]}"
        "$python" "$recipe/perplexity.py" "$exp/words.ngram" "$neural" "${files[@]}"
    fi
}

run_stages download prepare tokenizer train lm tune decode score
