"""Speech in, text out: `asr.load("default").transcribe("speech.wav").text`.

The names below are looked up at first use, so that `import asr` costs nothing and the
language models of `lm` can import `asr.nn` without loading the recogniser.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from asr.errors import AsrError

if TYPE_CHECKING:
    from asr.transcribe import Transcriber, Transcript, load

__version__ = "0.1.0"

__all__ = ["AsrError", "Transcriber", "Transcript", "__version__", "load"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module("asr.transcribe"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
