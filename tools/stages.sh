# shellcheck shell=bash
# Options and stages of every recipes/NAME/run.sh, which sources this file:
#
#   set -euo pipefail
#   source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh"
#   data=... conf=tiny                    the recipe's defaults
#   extra_options=(processes)             options of its own: --processes N sets $processes
#   parse_options "$@"
#   run_stages prepare train score        its functions, run in this order
#
# Afterwards $data, $exp and $conf are set (exp: an absolute path that exists; conf: a file),
# and the array $overrides holds what --set gave, ready to be passed on to `asr train`.
# Works with the bash 3.2 of macOS.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
recipe="$(cd "$(dirname "$0")" && pwd)"
recipe_name="$(basename "$recipe")"

# shellcheck disable=SC2034  # read by the recipes
data=""
exp="$root/exp/$recipe_name"
conf=""
stage=1
stop_stage=""
overrides=()
extra_options=()

# The checkout's own code, whatever else is installed.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
python="${PYTHON:-python3}"

asr() {
    "$python" -m asr "$@"
}

# asr_each COMMAND... -- COMMAND...: several of them in one process, which loads torch once.
asr_each() {
    "$python" "$root/tools/asr_each.py" "$@"
}

# One line on standard error and exit code 2, as `asr` does.
fail() {
    echo "$recipe_name: error: $*" >&2
    exit 2
}

# The comment at the head of run.sh is its manual.
print_usage() {
    sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$0"
    cat <<'END'
Options of every recipe:
  --data DIR        where the data is
  --exp DIR         where everything is written (default: exp/ and the recipe's name)
  --conf FILE       configuration: a TOML file or a name in the recipe's conf/
  --stage N         first stage to run, by number or name (default: 1)
  --stop-stage N    last stage to run (default: the last)
  --set A.B=C       override a value of the configuration; may be repeated
END
}

parse_options() {
    local option value name
    while (($#)); do
        option="$1"
        shift
        case "$option" in
            -h | --help)
                print_usage
                exit 0
                ;;
            --*=*)
                value="${option#*=}"
                option="${option%%=*}"
                ;;
            --*)
                _is_option "$option" || fail "unknown option $option; see $0 --help"
                (($#)) || fail "option $option needs a value"
                value="$1"
                shift
                ;;
            *) fail "unexpected argument '$option'; see $0 --help" ;;
        esac
        _is_option "$option" || fail "unknown option $option; see $0 --help"
        if [[ $option == --set ]]; then
            overrides+=(--set "$value")
        else
            name="${option#--}"
            printf -v "${name//-/_}" '%s' "$value"
        fi
    done
    _find_conf
    "$python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("torch"))' ||
        fail "$python has no torch; install the package (pip install $root) or set PYTHON"
    mkdir -p "$exp" || fail "--exp $exp: cannot be made"
    exp="$(cd "$exp" && pwd)"
}

_is_option() {
    local known
    for known in data exp conf stage stop-stage set ${extra_options[@]+"${extra_options[@]}"}; do
        [[ $1 != "--$known" ]] || return 0
    done
    return 1
}

_find_conf() {
    if [[ -n $conf && ! -f $conf ]]; then
        [[ -f $recipe/conf/$conf.toml ]] || fail "--conf $conf: no such file, nor in $recipe/conf"
        conf="$recipe/conf/$conf.toml"
    fi
}

# run_stages NAME...: run these functions from --stage to --stop-stage.
run_stages() {
    local names=("$@") first last number started
    first="$(_stage_number --stage "$stage" "$@")"
    last="$(_stage_number --stop-stage "${stop_stage:-$#}" "$@")"
    ((first <= last)) || fail "--stage $stage comes after --stop-stage $stop_stage"
    for ((number = first; number <= last; number++)); do
        echo "== stage $number of $#: ${names[number - 1]}"
        started="$SECONDS"
        # shellcheck disable=SC2064  # these values, not those at the end
        trap "_stage_failed $number ${names[number - 1]} $started" EXIT
        "${names[number - 1]}"
        trap - EXIT
        echo "== stage $number of $#: ${names[number - 1]} done in $((SECONDS - started)) s"
    done
}

_stage_failed() {
    local status=$?
    echo "$recipe_name: stage $1 ($2) ended with exit code $status after $((SECONDS - $3)) s;" \
        "--stage $1 goes on from here" >&2
    exit "$status"
}

_stage_number() {
    local option="$1" wanted="$2" number=0 name
    shift 2
    for name in "$@"; do
        ((number += 1))
        if [[ $wanted == "$number" || $wanted == "$name" ]]; then
            echo "$number"
            return
        fi
    done
    fail "$option $wanted: the stages are 1 to $# ($*)"
}

# toml_list A B: ["A", "B"], for `--set data.train=...`.
toml_list() {
    local item list=""
    for item in "$@"; do
        item="${item//\\/\\\\}"
        list+="${list:+, }\"${item//\"/\\\"}\""
    done
    echo "[$list]"
}

# train_timed NAME COMMAND...: run a training into $exp/NAME and note its seconds, and those of
# its CPU time, in $exp/NAME/seconds.  The time of a run that goes on is not that of a training.
train_timed() {
    local name="$1"
    shift
    if [[ -e $exp/$name/config.toml ]]; then
        "$@"
        return
    fi
    local TIMEFORMAT="%0R %0U" times="$exp/$name/seconds"
    mkdir -p "$exp/$name"
    { time "$@" 2>&3; } 3>&2 2>"$times.part"
    mv "$times.part" "$times"
}
