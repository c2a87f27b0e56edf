"""How the functions of the beam search are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled", "inner"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Counting references to arrays would take two thirds of the time.  These functions make no
# arrays and keep none.
_OPTIONS = {"nogil": True, "_nrt": False}


def compiled(function: _Function) -> _Function:
    """Compile at the first call from Python; later processes find the result in a cache."""
    return _compile(function, cache=True)


def inner(function: _Function) -> _Function:
    """Compile for compiled callers only, with which it is cached."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def _compile(function: _Function, **options: bool) -> _Function:
    try:
        return cast(_Function, numba.njit(function, **_OPTIONS, **options))
    except KeyError:
        # A Numba that has no longer these options, which it does not document.
        return cast(_Function, numba.njit(function, nogil=True, cache=True))
