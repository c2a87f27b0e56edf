"""Where models lie, and how each decodes: names and folders, without torch."""

from pathlib import Path

from asr.errors import CheckpointError, ConfigError

__all__ = [
    "DECODING_FILE",
    "DEFAULT_MODEL",
    "PACKAGED_MODELS",
    "decoding_file",
    "find_decoding",
    "find_decodings",
    "find_model",
]

DECODING_FILE = "decoding.toml"
"""In a model folder: how it decodes; greedily without."""

PACKAGED_MODELS = Path(__file__).parent / "models"
"""Where the models of the package are, a folder each, and the language models of all."""

DEFAULT_MODEL = PACKAGED_MODELS / "phones"
"""The one of the models in the package that is meant by "default"."""


def find_model(name: str | Path) -> Path:
    """Return the folder of a model.

    Args:
        name: "default" or the name of a model in the package, else a folder; an experiment
            folder stands for its `best`.

    Raises:
        CheckpointError: there is no such model.
    """
    folder = _packaged_models().get(str(name), Path(name))
    if not (folder / "model.safetensors").exists() and (folder / "best").is_dir():
        folder = folder / "best"
    if not (folder / "config.toml").is_file():
        if name == "default":
            raise CheckpointError(
                "the package holds no default model; name a model folder with --model"
            )
        names = ", ".join(map(repr, _packaged_models()))
        raise CheckpointError(
            f"{name}: no model folder (it has no config.toml); give one of {names}, a folder made "
            "by asr train, or one of its checkpoints"
        )
    return folder


def _packaged_models() -> dict[str, Path]:
    """The folders of the models in the package by their names."""
    folders = sorted(path.parent for path in PACKAGED_MODELS.glob("*/tokenizer.json"))
    return {"default": DEFAULT_MODEL, **{folder.name: folder for folder in folders}}


def decoding_file(name: str | None) -> str:
    """Return the name of the file with a model folder's decoding of a name, None for the usual."""
    return f"decoding-{name}.toml" if name else DECODING_FILE


def find_decodings(folder: Path) -> dict[str, Path]:
    """Return the files of a model folder's further decodings by their names."""
    paths = sorted(folder.glob(decoding_file("*")))
    return {path.stem.partition("-")[2]: path for path in paths}


def find_decoding(folder: Path, name: str) -> Path:
    """Return the file that says how to decode.

    Args:
        folder: of the model.
        name: a file, or what stands for NAME in one of the folder's decoding-NAME.toml.

    Raises:
        ConfigError: there is neither.
    """
    others = find_decodings(folder)
    path = others.get(name, Path(name))
    if not path.is_file():
        raise ConfigError(
            f"{name}: no file, and {folder} has no such decoding; give a file as asr tune writes "
            "it" + (f", or one of {', '.join(others)}" if others else "")
        )
    return path
