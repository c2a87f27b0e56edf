"""`asr doctor`, run as a program: with everything, with something broken, with nothing."""

import json
import os
import platform
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import asr
from asr.commands.doctor import PACKAGES, PROGRAMS
from asr.model_folders import DEFAULT_MODEL

ROOT = Path(__file__).parents[1]


def doctor(
    *arguments: str, python: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, "-m", "asr", "doctor", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    done = doctor("--json")
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["transcribes"] else 2)
    return found


def test_versions_are_the_installed_ones(report: dict[str, Any]) -> None:
    assert report["asr"] == asr.__version__
    assert report["python"] == platform.python_version()
    states = {state["name"]: state for state in report["packages"]}
    assert list(states) == [package.name for package in PACKAGES]
    for package in PACKAGES:
        if package.required:
            assert states[package.name]["version"] == version(package.name)
            assert states[package.name]["problem"] == ""


def test_devices_are_those_of_torch(report: dict[str, Any]) -> None:
    import torch

    devices = report["devices"]
    assert len(devices["cuda"]) == torch.cuda.device_count()
    assert devices["mps"] == torch.backends.mps.is_available()
    assert devices["cpu_threads"] >= 1


@pytest.mark.skipif(not DEFAULT_MODEL.is_dir(), reason="the package holds no default model")
def test_the_default_model_transcribes(report: dict[str, Any]) -> None:
    assert report["transcribes"], report["default_model"]
    assert report["default_model"].startswith(str(DEFAULT_MODEL))


def test_what_is_broken_is_told_in_a_line(tmp_path: Path) -> None:
    # Found before the installed packages; kenlm is optional, num2words is not.
    (tmp_path / "kenlm.py").write_text("raise OSError('undefined symbol:\\n_ZN2lm')")
    (tmp_path / "num2words.py").write_text("import a_module_that_is_not_there")
    done = doctor("--json", PYTHONPATH=str(tmp_path), PATH=str(tmp_path))
    found = json.loads(done.stdout)
    problems = {state["name"]: state["problem"] for state in found["packages"]}
    missing = {item["name"]: item for item in found["missing"]}
    assert "a_module_that_is_not_there" in problems["num2words"]
    assert missing["num2words"]["required"]
    # Where kenlm is not installed at all, that is what is told.
    assert problems["kenlm"] in ("undefined symbol: _ZN2lm", "not installed")
    assert not missing["kenlm"]["required"]
    assert "build-essential" in missing["kenlm"]["remedy"]["debian"]
    assert missing["ffmpeg"]["remedy"]["macos"] == "brew install ffmpeg"


def test_it_runs_with_nothing_but_python() -> None:
    done = doctor(python=("-S",))  # without site-packages
    assert (done.returncode, done.stderr) == (2, "")
    for package in PACKAGES:
        assert f'pip install "{package.requirement}"' in done.stdout
        assert package.purpose in done.stdout
    assert "fails" in done.stdout


def test_the_table_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {requirement.partition(";")[0].strip() for requirement in project["dependencies"]}
    extras = {
        requirement
        for extra in ("plot", "train")
        for requirement in project["optional-dependencies"][extra]
    }
    required = {package.requirement for package in PACKAGES if package.required}
    optional = {package.requirement for package in PACKAGES if not package.required}
    kenlm = {requirement for requirement in core if requirement.startswith("kenlm")}
    assert required == core - kenlm
    assert optional == extras | kenlm


def test_every_remedy_is_a_shell_line_for_each_system() -> None:
    remedies = [item.remedy for item in (*PACKAGES, *PROGRAMS)]
    for remedy in remedies:
        for line in (remedy.debian, remedy.fedora, remedy.macos):
            assert "\n" not in line
            subprocess.run(["bash", "-n", "-c", line], check=True)
