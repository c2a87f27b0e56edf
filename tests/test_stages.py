"""tools/stages.sh: what every recipe's run.sh takes and prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

RUN_SH = f"""\
#!/usr/bin/env bash
# A recipe.
#
#   run.sh --data DIR
set -euo pipefail
source "{ROOT}/tools/stages.sh"
extra_options=(n-units)
conf=tiny n_units=7
parse_options "$@"

prepare() {{
    echo "data=$data n_units=$n_units conf=$conf"
}}
train() {{
    echo "overrides: ${{overrides[*]-}}"
    [[ $n_units != 13 ]] || (exit 3)
    echo trained >>"$exp/trained"
}}
score() {{
    echo "$(toml_list 'a b' 'c"d\\e')"
}}
run_stages prepare train score
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "tiny.toml").write_text("seed = 1\n")
    (folder / "run.sh").write_text(RUN_SH)
    return folder


def run(recipe: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = ["bash", str(recipe / "run.sh"), *options]
    if "--exp" not in options:
        command += ["--exp", str(recipe.parent / "exp")]
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def stages(done: "subprocess.CompletedProcess[str]") -> list[str]:
    return re.findall(r"^== stage \d of 3: (\w+)$", done.stdout, re.MULTILINE)


def test_all_stages_with_their_times(recipe: Path) -> None:
    done = run(recipe, "--data", "a folder", "--n-units=9")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert stages(done) == ["prepare", "train", "score"]
    assert re.search(r"^== stage 2 of 3: train done in \d+ s$", done.stdout, re.MULTILINE)
    assert f"data=a folder n_units=9 conf={recipe}/conf/tiny.toml" in done.stdout
    assert r'["a b", "c\"d\\e"]' in done.stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--stage", "2"], ["train", "score"]),
        (["--stop-stage", "2"], ["prepare", "train"]),
        (["--stage=train", "--stop-stage=train"], ["train"]),
        (["--stage", "3", "--stop-stage", "score"], ["score"]),
    ],
)
def test_some_stages(recipe: Path, options: list[str], expected: list[str]) -> None:
    done = run(recipe, *options)
    assert done.returncode == 0, done.stderr
    assert stages(done) == expected


def test_overrides_are_passed_on(recipe: Path) -> None:
    done = run(recipe, "--set", "training.epochs=3", "--set=model.cell=gru")
    assert "overrides: --set training.epochs=3 --set model.cell=gru\n" in done.stdout


def test_exp_becomes_an_absolute_path(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recipe.parent)
    done = run(recipe, "--exp", "some/where")
    assert done.returncode == 0, done.stderr
    assert (recipe.parent / "some" / "where" / "trained").exists()


def test_a_stage_that_fails_ends_the_run_with_its_exit_code(recipe: Path) -> None:
    done = run(recipe, "--n-units", "13")
    assert done.returncode == 3
    assert stages(done) == ["prepare", "train"]
    assert re.fullmatch(
        r"recipe: stage 2 \(train\) ended with exit code 3 after \d+ s; --stage 2 goes on from "
        r"here\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dta", "x"], "unknown option --dta"),
        (["--dta=x"], "unknown option --dta"),
        (["--exp-x", "x"], "unknown option --exp-x"),
        (["--data"], "option --data needs a value"),
        (["data"], "unexpected argument 'data'"),
        (["--stage", "4"], "--stage 4: the stages are 1 to 3 (prepare train score)"),
        (["--stage", "0"], "--stage 0: the stages are 1 to 3"),
        (["--stop-stage", "tran"], "--stop-stage tran: the stages are"),
        (["--stage", "3", "--stop-stage", "1"], "--stage 3 comes after --stop-stage 1"),
        (["--conf", "big"], "--conf big: no such file"),
    ],
)
def test_wrong_options_are_one_line(recipe: Path, options: list[str], message: str) -> None:
    # --exp comes first: an option without its value stands last.
    done = run(recipe, "--exp", str(recipe.parent / "exp"), *options)
    assert done.returncode == 2
    assert stages(done) == []
    assert done.stderr.startswith("recipe: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_is_the_head_of_the_script_and_the_common_options(recipe: Path) -> None:
    done = run(recipe, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("A recipe.\n\n  run.sh --data DIR\n")
    assert "--stop-stage N" in done.stdout
    assert "set -euo" not in done.stdout


def test_commands_in_one_process_end_with_the_first_that_fails() -> None:
    version = ["--version", "--"]
    command = [sys.executable, str(ROOT / "tools" / "asr_each.py"), *version, "nothing", "--"]
    done = subprocess.run(
        [*command, *version],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout.count("\n") == 1
    assert "-- asr --version\n-- asr nothing\nasr: error: there is no command" in done.stderr
