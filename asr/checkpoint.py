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
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError

from asr.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "Precision",
    "atomic_folder",
    "read_json",
    "read_tensors",
    "restore_replaced",
    "round_tensors",
    "write_json",
    "write_tensors",
]

Precision = Literal["float32", "half", "int8"]
"""Of the floats in a file."""

_ROW_SCALE = ".row_scale"
# Numbers of a matrix below which rounding it spares nothing.
_FEW = 4096


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


def write_tensors(
    path: Path, tensors: "Mapping[str, Tensor]", *, precision: Precision = "float32"
) -> None:
    """Write named tensors to a safetensors file.

    Args:
        path: the file.
        tensors: any shapes and devices; memory shared between them is written twice.
        precision: of floats in the file, see `round_tensors`; "float32" leaves them as they are.
    """
    from safetensors.torch import save_file

    if precision != "float32":
        tensors = round_tensors(tensors, precision)
    save_file(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path
    )
    # safetensors makes files that only their owner can read.
    path.chmod(0o644)


def round_tensors(
    tensors: "Mapping[str, Tensor]", precision: Literal["half", "int8"]
) -> "dict[str, Tensor]":
    """Make the floats of a model take less room.

    "half" keeps them as float16.  "int8" does that with all but the large matrices; a row w of
    one of these (what feeds one output, or the vector of one token) becomes

        q_j = round(127 w_j / s),   s = max_j |w_j|

    and s stands under NAME.row_scale.  `read_tensors` gives q s / 127 back: no weight is off by
    more than s / 254.

    Args:
        tensors: any shapes.
        precision: of the result.

    Returns:
        the same names, and those of the scales
    """
    import torch

    rounded = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            rounded[name] = tensor
        elif precision == "int8" and tensor.ndim > 1 and tensor.numel() >= _FEW:
            rows = tensor.detach().float().flatten(1)
            scales = rows.abs().amax(1, keepdim=True).clamp(min=1e-30)
            rounded[name] = (127 * rows / scales).round().to(torch.int8).view_as(tensor)
            rounded[name + _ROW_SCALE] = scales.flatten()
        else:
            rounded[name] = tensor.to(torch.float16)
    return rounded


def _with_rows_scaled(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Undo "int8" of `round_tensors`."""
    for name in [name for name in tensors if name.endswith(_ROW_SCALE)]:
        rows = tensors[name.removesuffix(_ROW_SCALE)]
        scales = tensors.pop(name) / 127
        tensors[name.removesuffix(_ROW_SCALE)] = rows * scales.view(-1, *(rows.ndim - 1) * [1])
    return tensors


def read_tensors(path: Path, device: "torch.device | str" = "cpu") -> "dict[str, Tensor]":
    """Read the tensors of a safetensors file; what `round_tensors` made int8 comes as float32.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    from safetensors.torch import load_file

    try:
        return _with_rows_scaled(load_file(path, device=str(device)))
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
