"""Facts about the package: what it exports, what a wheel of it holds, what its README promises."""

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import asr
from asr.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODELS = ROOT / "asr" / "models"


def test_the_exported_names_are_there() -> None:
    for name in asr.__all__:
        assert getattr(asr, name) is not None
    assert set(asr.__all__) <= set(dir(asr))
    assert asr.load is importlib.import_module("asr.transcribe").load


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="'asr' has no attribute 'transcriber'"):
        asr.transcriber  # noqa: B018


def test_the_version_is_that_of_the_installed_package() -> None:
    try:
        installed = version(PROJECT["name"])
    except PackageNotFoundError:
        pytest.skip("runs from a checkout that is not installed")
    assert installed == asr.__version__


def test_the_changelog_has_the_version() -> None:
    assert f"## {asr.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_console_script_and_the_module_are_the_same_program() -> None:
    module, _, function = PROJECT["scripts"]["asr"].partition(":")
    assert getattr(importlib.import_module(module), function) is main
    done = subprocess.run(
        [sys.executable, "-m", "asr", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"asr {asr.__version__}\n"


def distribution_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", requirement)[0] for requirement in requirements}


def test_every_imported_library_is_a_dependency() -> None:
    extras = PROJECT["optional-dependencies"]
    declared = distribution_names([*PROJECT["dependencies"], *extras["train"], *extras["plot"]])
    for path in [*(ROOT / "asr").rglob("*.py"), *(ROOT / "lm").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            roots = {name.partition(".")[0] for name in names} - {"asr", "lm"}
            foreign = roots - set(sys.stdlib_module_names)
            undeclared = foreign - declared
            assert not undeclared, f"{path.relative_to(ROOT)} imports {sorted(undeclared)}"


def test_torch_has_bounds_on_both_sides() -> None:
    bounds = [item for item in PROJECT["dependencies"] if item.startswith("torch")]
    assert len(bounds) == 2
    assert all(">=" in bound and ",<" in bound for bound in bounds)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build a wheel from a copy of the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("asr", "lm"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(source / done.stdout.splitlines()[-1])


def test_a_wheel_holds_all_of_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in ("asr", "lm")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".lexicon"
    }
    info = f"{PROJECT['name'].replace('-', '_')}-{asr.__version__}.dist-info"
    held = {name for name in wheel.namelist() if not name.startswith(f"{info}/")}
    assert held == expected
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert {"asr/py.typed", "lm/py.typed"} <= held


def test_the_models_are_whole_and_small() -> None:
    files = {"config.toml", "model.safetensors", "tokenizer.json", "metrics.json", "MODEL_CARD.md"}
    folders = [path.parent for path in MODELS.glob("*/tokenizer.json")]
    assert folders
    for folder in folders:
        assert files <= {path.name for path in folder.iterdir()}
        assert (folder / "model.safetensors").stat().st_size < 22e6
        json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    sizes = [p.stat().st_size for p in MODELS.rglob("*") if p.is_file() and p.suffix != ".lexicon"]
    assert max(sizes) < 26e6
    assert sum(sizes) < 60e6


# README


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def shell_lines() -> list[str]:
    """Return the lines of the README's shell blocks; continued lines are joined."""
    blocks = re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", readme(), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines]


def commands_in(line: str) -> list[list[str]]:
    """Return the words of each command of a line such as `A && B | C`."""
    return [words for part in re.split(r"&&|\|\|?|;", line) if (words := part.split())]


def test_the_readme_has_the_commands_that_the_checks_run() -> None:
    for name, needed in {
        "transcribe": ["pip install .", "asr transcribe examples/hello.wav"],
        "test": ['pip install -e ".[test]"', "pytest"],
    }.items():
        found = re.search(rf"^<!-- ci: {name} -->\n```bash\n(.*?)```$", readme(), re.M | re.S)
        assert found, f"README.md has no shell block below <!-- ci: {name} -->"
        position = 0
        for part in needed:
            position = found[1].find(part, position)
            assert position >= 0, f"the block below <!-- ci: {name} --> does not run {part!r}"


def test_the_commands_of_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [words for line in shell_lines() for words in commands_in(line)]
    used = [words for words in commands if words[0] == "asr" and words[1:2] != ["--help"]]
    assert used
    for _, name, *arguments in used:
        assert name in COMMANDS, f"README.md: asr {name}"
        assert main([name, "--help"]) == 0
        known = set(re.findall(r"--?[a-z][a-z-]*", capsys.readouterr().out))
        options = {word.partition("=")[0] for word in arguments if word.startswith("-")} - {"-"}
        assert options <= known, f"README.md: asr {name} {sorted(options - known)}"


def test_the_programs_and_targets_of_the_readme_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for words in (words for line in shell_lines() for words in commands_in(line)):
        if words[0] == "make":
            assert set(words[1:]) <= set(targets), f"README.md: {' '.join(words)}"
        for word in words:
            if re.match(r"(recipes|tools|examples)/", word):
                assert (ROOT / word).exists(), f"README.md: {word}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_point_to_files_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (ROOT / target).exists(), f"{name}: {target}"


def test_every_recipe_has_its_parts() -> None:
    listed = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    recipes = [path for path in (ROOT / "recipes").iterdir() if path.is_dir()]
    assert recipes
    for recipe in recipes:
        for part in ("README.md", "run.sh", "conf/tiny.toml"):
            assert (recipe / part).is_file(), f"recipes/{recipe.name} has no {part}"
        assert f"({recipe.name}/" in listed, f"recipes/README.md does not link {recipe.name}/"
