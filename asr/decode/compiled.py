"""How the functions of the beam search are compiled."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

__all__ = ["SOURCES", "compiled", "inner"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

# The modules of this package that define what is compiled.
SOURCES = (
    "beam_arrays",
    "engine",
    "fusion",
    "lexicon_trie",
    "merging",
    "nbest",
    "proposals",
    "selection",
    "survival",
)

# Counting references to arrays would take two thirds of the time.  These functions make no
# arrays and keep none.
_OPTIONS = {"nogil": True, "_nrt": False}


def compiled(function: _Function) -> _Function:
    """Compile at the first call from Python; later processes find the result in a cache."""
    dispatcher = _compile(function, cache=True)
    # Numba takes cached code for fresh while the function's own file is unchanged, but there are
    # functions of other files in it.
    cache_file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if cache_file is not None and hasattr(cache_file, "_source_stamp"):
        cache_file._source_stamp = _source_stamp()
    return dispatcher


def inner(function: _Function) -> _Function:
    """Compile for compiled callers only, with which it is cached."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@functools.cache
def _source_stamp() -> tuple[tuple[str, int, int], ...]:
    """Changes with every change of a file that compiled code comes from."""
    folder = Path(__file__).parent
    files = [folder / f"{name}.py" for name in SOURCES] + [folder.parents[1] / "lm/automaton.py"]
    stats = [(path.name, path.stat()) for path in files if path.exists()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def _compile(function: _Function, **options: bool) -> _Function:
    njit: Callable[..., Any] = numba.njit
    try:
        return cast(_Function, njit(function, **_OPTIONS, **options))
    except KeyError:
        # A Numba that has no longer these options, which it does not document.
        return cast(_Function, njit(function, nogil=True, cache=True))
