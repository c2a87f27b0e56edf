"""The structure of the project: imports point downwards, names are what `__all__` says."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A module belongs to the longest name that it is or lies below.  It may import what stands in
# the lines above, and its own line as long as nothing goes round in a circle.
LAYERS = (
    ("asr.errors",),
    (
        "asr.audio",
        "asr.audio_decoders",
        "asr.audio_headers",
        "asr.checkpoint",
        "asr.config",
        "asr.english",
        "asr.lexicon",
        "asr.manifest",
        "asr.metrics",
        "asr.model_folders",
        "asr.nn",
        "asr.optimizers",
        "asr.readme_table",
        "asr.toml_config",
        "asr.torchaudio_safe",
        "asr.training_display",
        "asr.training_log",
        "asr.transcripts",
        "asr.world",
    ),
    (
        "asr.fit",
        "asr.pieces",
        "asr.pronouncer",
        "asr.relatives",
        "asr.search",
        "asr.text",
        "asr.translator",
        "asr.translator_train",
    ),
    ("lm",),
    (
        "asr.augment",
        "asr.features",
        "asr.filterbank",
        "asr.frequency_warp",
        "asr.spec_augment",
    ),
    ("asr.data", "asr.decode", "asr.models"),
    (
        "asr.check",
        "asr.chunks",
        "asr.evaluate",
        "asr.formats",
        "asr.learning_curve",
        "asr.listener",
        "asr.prepare",
        "asr.recording",
        "asr.subtitles",
        "asr.train",
        "asr.transcribe",
        "asr.tune",
        "asr.views",
        "asr.word_lists",
    ),
    (
        "asr.__main__",
        "asr.cli",
        "asr.commands",
        "asr.pair_programs",
        "asr.recipe_programs",
        "asr.translator_programs",
        "lm.__main__",
    ),
)
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}

# What the packages themselves, `asr` and `lm`, export beside their modules.
FACTS = {"asr": {"__version__"}}

HEAVY = ("torch", "torchaudio", "librosa", "numba", "scipy", "matplotlib", "tensorboard")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path for package in ("asr", "lm") for path in (ROOT / package).rglob("*.py")
}


def level(name: str) -> int | None:
    """Return the layer of a module; None where the table misses it."""
    parts = name.split(".")
    known = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((LEVELS[prefix] for prefix in known if prefix in LEVELS), None)


def imports(path: Path, package: str) -> Iterator[str]:
    """Yield all imported modules, also those imported inside functions.

    Args:
        path: the file that imports.
        package: the package it lies in, which relative imports start from.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *filter(None, [node.module])])
            for alias in node.names:
                if f"{base}.{alias.name}" in MODULES:
                    yield f"{base}.{alias.name}"
                elif alias.name in FACTS.get(base, ()):
                    continue
                elif base == "asr":
                    yield "asr.transcribe"  # the home of what `asr` exports
                else:
                    yield base


def own_imports(name: str) -> set[str]:
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return {
        target
        for target in imports(path, package)
        if target.partition(".")[0] in ("asr", "lm") and target != name
    }


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"asr"}))
def test_imports_point_downwards(name: str) -> None:
    own = level(name)
    assert own is not None, f"{name} stands in no layer of {__file__}"
    upwards = {target for target in own_imports(name) if (level(target) or 0) > own}
    assert not upwards, f"{name} imports from layers above its own: {sorted(upwards)}"


def test_the_package_itself_imports_errors_alone_before_something_is_used() -> None:
    assert own_imports("asr") == {"asr.errors", "asr.transcribe"}
    assert loaded_after("import asr") & set(MODULES) == {"asr", "asr.errors"}


def test_no_imports_go_round_in_a_circle() -> None:
    # A package imports its modules, and a module of a package loads the package first; only
    # what is written down counts here.
    graph = {name: own_imports(name) for name in MODULES if name != "asr"}
    list(TopologicalSorter(graph).static_order())


def test_every_layer_is_of_modules_that_could_be_imported() -> None:
    assert all(name.partition(".")[0] in ("asr", "lm") for name in LEVELS)
    assert len(LEVELS) == sum(len(names) for names in LAYERS), "a name stands in two layers"


def test_nothing_below_imports_recipes_tools_or_tests() -> None:
    outside = {"recipes", "tools", "tests"}
    for name, path in MODULES.items():
        targets = {target.partition(".")[0] for target in imports(path, name)}
        assert not targets & outside, f"{name} imports {sorted(targets & outside)}"


def test_recipes_do_not_import_each_other() -> None:
    recipes = {path.name for path in (ROOT / "recipes").iterdir() if path.is_dir()}
    for recipe in recipes:
        for path in (ROOT / "recipes" / recipe).rglob("*.py"):
            targets = {target.partition(".")[0] for target in imports(path, recipe)}
            others = targets & (recipes - {recipe} | {"recipes", "tests", "tools"})
            assert not others, f"{path.relative_to(ROOT)} imports {sorted(others)}"


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in MODULES.values()}
    assert all((folder / "__init__.py").exists() for folder in folders)


def defined_names(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield what the top level of a module defines or imports, with the statement."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name, node) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names = (part for part in ast.walk(target) if isinstance(part, ast.Name))
                yield from ((name.id, node) for name in names)
        elif isinstance(node, ast.If | ast.Try):
            handlers = node.handlers if isinstance(node, ast.Try) else []
            for part in (node.body, node.orelse, *(handler.body for handler in handlers)):
                yield from defined_names(part)


@pytest.mark.parametrize("name", sorted(name for name in MODULES if "__main__" not in name))
def test_all_is_exact(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    names = dict(defined_names(tree.body))
    statement = names.get("__all__")
    assert isinstance(statement, ast.Assign | ast.AnnAssign), f"{name} has no __all__"
    assert statement.value is not None
    exported = ast.literal_eval(statement.value)
    assert len(set(exported)) == len(exported), f"{name}.__all__ names something twice"
    missing = set(exported) - set(names)
    assert not missing, f"{name}.__all__ names what is not there: {sorted(missing)}"
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    public = {
        key
        for key, node in names.items()
        if isinstance(node, definitions) and not key.startswith("_")
    }
    assert public <= set(exported), f"{name}.__all__ misses {sorted(public - set(exported))}"


def loaded_after(code: str, *arguments: str) -> set[str]:
    """Return the modules that a fresh Python has loaded after running some code."""
    program = f"import sys\n{code}\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import asr, lm, asr.errors",
        "from asr.cli import main; assert main(['--help']) == 0",
        "from asr.cli import main; assert main(['--version']) == 0",
        "from asr.cli import main; assert main(['nothing']) == 2",
    ],
)
def test_start_up_loads_nothing_heavy(code: str) -> None:
    assert not loaded_after(code) & set(HEAVY)


def test_the_help_of_every_command_loads_nothing_heavy() -> None:
    code = """
from asr.cli import COMMANDS, main
for command in COMMANDS:
    assert main([command, "--help"]) == 0
"""
    assert not loaded_after(code) & set(HEAVY)
