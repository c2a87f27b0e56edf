"""Partial selection and small sorts for the compiled beam search."""

import numpy as np
from numpy.typing import NDArray

from asr.decode.compiled import inner
from lm.backoff import Floats, Ints

__all__ = ["nth_largest", "sort_descending"]


@inner
def nth_largest(values: NDArray[np.float64], n_values: int, n: int) -> float:
    """The n-th largest of the first values, which are put out of order; 1 <= n <= n_values.

    Reference: Hoare 1961, Algorithm 65: Find.
    """
    wanted = n - 1
    low, high = 0, n_values - 1
    while low < high:
        # The median of three, so that sorted values are no worst case.
        pivot = values[(low + high) >> 1]
        smaller, larger = min(values[low], values[high]), max(values[low], values[high])
        pivot = min(max(pivot, smaller), larger)
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            break
    return float(values[wanted])


@inner
def sort_descending(items: Ints, first: int, end: int, keys: Floats) -> None:
    """Sort items[first:end] by their keys, largest first (Shell 1959)."""
    gap = 1
    while gap < (end - first) // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for index in range(first + gap, end):
            item = items[index]
            key = keys[item]
            position = index
            while position >= first + gap and keys[items[position - gap]] < key:
                items[position] = items[position - gap]
                position -= gap
            items[position] = item
        gap //= 3
