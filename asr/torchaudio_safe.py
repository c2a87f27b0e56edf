"""torchaudio, also where its native library does not load.

The wheel of torchaudio on PyPI is linked against CUDA, so that beside a CPU-only torch
`import torchaudio` fails.  Its transforms, `compliance.kaldi` and data-set classes are
Python and need no native code: a stand-in for the one module that loads it is enough.

    from asr.torchaudio_safe import torchaudio
"""

import functools
import importlib
import logging
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

from asr.errors import DependencyError

if TYPE_CHECKING:
    import torchaudio

__all__ = ["has_native_library", "torchaudio"]

_logger = logging.getLogger(__name__)
_EXTENSION = "torchaudio._extension"


def __getattr__(name: str) -> ModuleType:
    # Looked up at first use, so that importing this module loads nothing.
    if name != "torchaudio":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _import_torchaudio()
    globals()[name] = module
    return module


def has_native_library() -> bool:
    """Return whether torchaudio runs with its native library.

    Raises:
        DependencyError: torchaudio is not installed or cannot be imported at all.
    """
    _import_torchaudio()
    return bool(sys.modules[_EXTENSION]._IS_TORCHAUDIO_EXT_AVAILABLE)


def _import_torchaudio() -> ModuleType:
    """Import torchaudio as it is, else with the stand-in for its native library."""
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError as error:
        if error.name == "torchaudio":
            raise DependencyError(
                "torchaudio is not installed; run: pip install torchaudio"
            ) from None
        reason: Exception = error
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        # Missing libraries, symbols of another torch, another CUDA, missing operators.
        reason = error
    _logger.info("torchaudio runs without its native library: %s", _one_line(reason))
    _forget_torchaudio()
    sys.modules[_EXTENSION] = _stand_in()
    try:
        return importlib.import_module("torchaudio")
    except Exception as error:
        _forget_torchaudio()
        raise DependencyError(
            f"torchaudio cannot be imported ({_one_line(error)}); install the version that "
            "belongs to your torch"
        ) from error


def _forget_torchaudio() -> None:
    """Remove what a failed import left behind."""
    for name in [n for n in sys.modules if n.split(".")[0] == "torchaudio"]:
        del sys.modules[name]


def _stand_in() -> ModuleType:
    """Make a module that says: there is no native library."""
    module = ModuleType(_EXTENSION)
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=_fail_if_no_align,
    )
    return module


def _fail_if_no_align(function: Callable[..., object]) -> Callable[..., NoReturn]:
    """Replace a function that needs native code by one that says so."""

    @functools.wraps(function)
    def fail(*_: object, **__: object) -> NoReturn:
        raise DependencyError(
            f"torchaudio's {function.__name__} needs its native library, which does not load "
            "here; install the torchaudio that belongs to your torch"
        )

    return fail


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
