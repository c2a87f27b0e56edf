"""Writing and reading tensors and folders so that a crash never leaves half of one.

Tensors are safetensors, everything else is JSON or TOML: loading a stranger's model runs
no code.  Torch is loaded where tensors are: programs that only read JSON do not wait for it.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from asr.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "atomic_folder",
    "read_json",
    "read_tensors",
    "restore_replaced",
    "write_json",
    "write_tensors",
]


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder that becomes `path` only when the block ends without error.

    An older folder of that name is replaced.  A process killed inside the block leaves only
    a hidden `.NAME.writing` folder, which the next writer removes; one killed while the old
    folder is being replaced leaves that as `.NAME.old`, which `restore_replaced` puts back.

    Args:
        path: the folder to make.
    """
    writing = path.with_name(f".{path.name}.writing")
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    yield writing
    for file in writing.iterdir():
        _sync(file)
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    writing.rename(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def restore_replaced(path: Path) -> None:
    """Put back a folder whose replacement by `atomic_folder` was cut off in the middle."""
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        old.rename(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Write named tensors to a safetensors file.

    Args:
        path: the file.
        tensors: any shapes and devices; memory shared between them is written twice.
    """
    from safetensors.torch import save_file

    save_file(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path
    )
    # safetensors makes files that only their owner can read.
    path.chmod(0o644)


def read_tensors(path: Path, device: "torch.device | str" = "cpu") -> "dict[str, Tensor]":
    """Read the tensors of a safetensors file.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    from safetensors.torch import load_file

    try:
        return load_file(path, device=str(device))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; is this a complete model folder?") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged safetensors file ({error}); copy it anew") from None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    writing = path.with_name(f".{path.name}.writing")
    writing.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _sync(writing)
    writing.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CheckpointError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error}); copy it anew") from None
