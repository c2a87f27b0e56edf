"""The compiled part: sub-sampling, windows, negatives and gradient descent over flat arrays.

Everything random comes from one counter, hashed (SplitMix64), so that the same block and seed
always give the same examples, whichever thread takes the block.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Block",
    "Examples",
    "Floats",
    "Ints",
    "Offsets",
    "Sampling",
    "Scheme",
    "Sentences",
    "Weights",
    "Workspace",
    "collect_examples",
    "descend",
    "make_workspace",
    "sigmoid_table",
    "train_block",
]

Ints = NDArray[np.int32]
Offsets = NDArray[np.int64]
Floats = NDArray[np.float32]
_Function = TypeVar("_Function", bound=Callable[..., object])

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_1, _FACTOR_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31 = np.uint64(30), np.uint64(27), np.uint64(31)
_SHIFT_32, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
# Beyond it a sigmoid counts as what it is there, 5e-5 from its end.
_SIGMOID_LIMIT = np.float32(10)
_VALUES_PER_UNIT = np.float32(100)


class Weights(NamedTuple):
    """The parameters.

    Args:
        inputs: (V, D) float32, the word vectors v
        outputs: (V, D) float32, the vectors u of words that are predicted
    """

    inputs: Floats
    outputs: Floats


class Sampling(NamedTuple):
    """What is drawn with which probability, as limits for 32 random bits.

    Args:
        keep: (V,) uint32; a word stays in the text if its bits are not above
        accept: (V,) uint32; a column of Walker's alias table gives its own word if not above
        alias: (V,) int32; the column's other word
        sigmoid: what `sigmoid_table` returns
    """

    keep: NDArray[np.uint32]
    accept: NDArray[np.uint32]
    alias: Ints
    sigmoid: Floats


class Sentences(NamedTuple):
    """A text.

    Args:
        tokens: (N,) int32
        starts: (K + 1,) int64, where each sentence starts in `tokens`, and the last one's end
    """

    tokens: Ints
    starts: Offsets


class Scheme(NamedTuple):
    """What is predicted from what.

    Args:
        window: the most words on either side
        n_negatives: words that are drawn beside each target
        bags: True: a word from the mean of its context (CBOW); False: from each word of it
        divide: True: each word of a bag moves by the gradient of the mean; False: by all of the
            gradient, as in word2vec.c
    """

    window: int
    n_negatives: int
    bags: bool
    divide: bool


class Block(NamedTuple):
    """The sentences from `first` to before `last`, and how to learn from them.

    Args:
        first: sentence
        last: sentence
        first_rate: learning rate at the first token
        last_rate: learning rate behind the last token
        seed: of all that is random in the block
    """

    first: int
    last: int
    first_rate: float
    last_rate: float
    seed: np.uint64


class Workspace(NamedTuple):
    """One example, its hidden vector and its gradients."""

    bag: Ints
    targets: Ints
    slopes: Floats
    hidden: Floats
    error: Floats


class Examples(NamedTuple):
    """Bags of words and the words to predict from each.

    Args:
        bags: input words, one bag after another
        bag_starts: (B + 1,)
        targets: the words of one bag after those of another
        target_starts: (B + 1,)
    """

    bags: Ints
    bag_starts: Offsets
    targets: Ints
    target_starts: Offsets


def sigmoid_table() -> Floats:
    """1 / (1 + exp(-x)) at every hundredth from -10 to 10.01."""
    n = int(_SIGMOID_LIMIT * _VALUES_PER_UNIT)
    x = np.arange(-n, n + 2) / float(_VALUES_PER_UNIT)
    return (1 / (1 + np.exp(-x))).astype(np.float32)


def _compiled(function: _Function) -> _Function:
    return cast(_Function, numba.njit(function, cache=True, nogil=True, fastmath=True))


@_compiled
def make_workspace(scheme: Scheme, size: int) -> Workspace:
    """Return room for the largest example."""
    return Workspace(
        np.empty(2 * scheme.window, np.int32),
        np.empty(scheme.n_negatives + 1, np.int32),
        np.empty(scheme.n_negatives + 1, np.float32),
        np.empty(size, np.float32),
        np.empty(size, np.float32),
    )


@_compiled
def _hash(counter: np.uint64) -> np.uint64:
    bits = (counter ^ (counter >> _SHIFT_30)) * _FACTOR_1
    bits = (bits ^ (bits >> _SHIFT_27)) * _FACTOR_2
    return bits ^ (bits >> _SHIFT_31)


@_compiled
def _sigmoid(table: Floats, x: np.float32) -> np.float32:
    """Linear between the table's values: within 3e-6 of the sigmoid."""
    if x <= -_SIGMOID_LIMIT:
        return table[0]  # type: ignore[no-any-return]
    if x >= _SIGMOID_LIMIT:
        return table[len(table) - 2]  # type: ignore[no-any-return]
    place = (x + _SIGMOID_LIMIT) * _VALUES_PER_UNIT
    index = int(place)
    below = table[index]
    return below + (place - np.float32(index)) * (table[index + 1] - below)  # type: ignore[no-any-return]


@_compiled
def descend(
    weights: Weights,
    example: Workspace,
    n_inputs: int,
    n_targets: int,
    scheme: Scheme,
    sigmoid: Floats,
    rate: float,
) -> None:
    """Go one step down the gradient of one example's loss.

        h = mean of v_w over the bag
        loss = -log s(u_0 . h) - sum over n > 0 of log s(-u_n . h),   s(x) = 1 / (1 + exp(-x))
        g_t = [t = 0] - s(u_t . h);   u_t += rate g_t h;   v_w += rate sum_t g_t u_t / |bag|

    Args:
        weights: changed in place
        example: its first `n_inputs` words and first `n_targets` targets, the true one first
        n_inputs: from 1
        n_targets: from 1
        scheme: only `divide` counts
        sigmoid: the table
        rate: learning rate
    """
    inputs, outputs = weights.inputs, weights.outputs
    hidden, error, slopes = example.hidden, example.error, example.slopes
    size = inputs.shape[1]
    for d in range(size):
        hidden[d] = inputs[example.bag[0], d]
        error[d] = 0
    if n_inputs > 1:
        for b in range(1, n_inputs):
            word = example.bag[b]
            for d in range(size):
                hidden[d] += inputs[word, d]
        share = np.float32(1 / n_inputs)
        for d in range(size):
            hidden[d] *= share
    # All products come before the first update: the gradient at one point.
    for t in range(n_targets):
        word = example.targets[t]
        product = np.float32(0)
        for d in range(size):
            product += hidden[d] * outputs[word, d]
        label = np.float32(1 if t == 0 else 0)
        slopes[t] = np.float32(rate) * (label - _sigmoid(sigmoid, product))
    for t in range(n_targets):
        word, slope = example.targets[t], slopes[t]
        for d in range(size):
            # Of two equal negatives the second sees the first one's update: a difference of
            # rate^2, not worth a copy.
            error[d] += slope * outputs[word, d]
            outputs[word, d] += slope * hidden[d]
    share = np.float32(1 / n_inputs if scheme.divide else 1)
    for b in range(n_inputs):
        word = example.bag[b]
        for d in range(size):
            inputs[word, d] += share * error[d]


@_compiled
def _draw_negatives(
    sampling: Sampling, example: Workspace, counter: np.uint64
) -> tuple[int, np.uint64]:
    """Fill the targets behind the first; one that equals the first is left out."""
    targets = example.targets
    n_words = np.uint64(len(sampling.alias))
    n_targets = 1
    for _ in range(len(targets) - 1):
        counter += _STEP
        bits = _hash(counter)
        word = np.int32(((bits >> _SHIFT_32) * n_words) >> _SHIFT_32)
        if (bits & _LOW) > sampling.accept[word]:
            word = sampling.alias[word]
        if word != targets[0]:
            targets[n_targets] = word
            n_targets += 1
    return n_targets, counter


@_compiled
def _longest(sentences: Sentences, block: Block) -> int:
    longest = 0
    for s in range(block.first, block.last):
        longest = max(longest, sentences.starts[s + 1] - sentences.starts[s])
    return longest


@_compiled
def _subsample(
    sampling: Sampling, sentences: Sentences, sentence: int, kept: Ints, counter: np.uint64
) -> tuple[int, np.uint64]:
    """Fill `kept` with the words of a sentence that stay; return how many those are."""
    n_kept = 0
    for place in range(sentences.starts[sentence], sentences.starts[sentence + 1]):
        token = sentences.tokens[place]
        counter += _STEP
        if (_hash(counter) >> _SHIFT_32) <= sampling.keep[token]:
            kept[n_kept] = token
            n_kept += 1
    return n_kept, counter


@_compiled
def _reach(window: int, bits: np.uint64) -> int:
    """From 1 to `window`, all equally likely: near words count for more."""
    return 1 + int(((bits >> _SHIFT_32) * np.uint64(window)) >> _SHIFT_32)


@_compiled
def train_block(
    weights: Weights, sampling: Sampling, sentences: Sentences, scheme: Scheme, block: Block
) -> None:
    """Learn from a block by negative sampling.

    As in word2vec.c, skip-gram takes each context word as input and the word in the middle as
    target; over a text that is the same set of pairs as the other way round.  Threads may work
    on other blocks with the same weights at the same time, without locks.

    Reference: Mikolov et al., "Distributed representations of words and phrases and their
    compositionality", NIPS 2013; Niu et al., "Hogwild!", NIPS 2011.
    """
    starts = sentences.starts
    counter = block.seed
    kept = np.empty(_longest(sentences, block), np.int32)
    example = make_workspace(scheme, weights.inputs.shape[1])
    n_tokens = max(starts[block.last] - starts[block.first], 1)
    for s in range(block.first, block.last):
        done = (starts[s] - starts[block.first]) / n_tokens
        rate = block.first_rate + (block.last_rate - block.first_rate) * done
        n_kept, counter = _subsample(sampling, sentences, s, kept, counter)
        for i in range(n_kept):
            counter += _STEP
            reach = _reach(scheme.window, _hash(counter))
            example.targets[0] = kept[i]
            n_bag = 0
            for j in range(max(i - reach, 0), min(i + reach + 1, n_kept)):
                if j == i:
                    continue
                example.bag[n_bag] = kept[j]
                if scheme.bags:
                    n_bag += 1
                    continue
                n_targets, counter = _draw_negatives(sampling, example, counter)
                descend(weights, example, 1, n_targets, scheme, sampling.sigmoid, rate)
            if n_bag > 0:
                n_targets, counter = _draw_negatives(sampling, example, counter)
                descend(weights, example, n_bag, n_targets, scheme, sampling.sigmoid, rate)


@_compiled
def collect_examples(
    sampling: Sampling, sentences: Sentences, scheme: Scheme, block: Block
) -> Examples:
    """Return a block's examples without learning from them.

    Args:
        sampling: only `keep` counts
        sentences: the text
        scheme: with `bags` a bag is a context and its target the word in the middle, else the
            other way round; `n_negatives` and `divide` do not count
        block: its rates do not count
    """
    n_tokens = sentences.starts[block.last] - sentences.starts[block.first]
    contexts = np.empty(n_tokens * 2 * scheme.window, np.int32)
    context_starts = np.zeros(n_tokens + 1, np.int64)
    centres = np.empty(n_tokens, np.int32)
    kept = np.empty(_longest(sentences, block), np.int32)
    counter = block.seed
    n, end = 0, 0
    for s in range(block.first, block.last):
        n_kept, counter = _subsample(sampling, sentences, s, kept, counter)
        if n_kept < 2:
            continue
        for i in range(n_kept):
            counter += _STEP
            reach = _reach(scheme.window, _hash(counter))
            for j in range(max(i - reach, 0), min(i + reach + 1, n_kept)):
                if j != i:
                    contexts[end] = kept[j]
                    end += 1
            centres[n] = kept[i]
            n += 1
            context_starts[n] = end
    numbers = np.arange(n + 1)
    if scheme.bags:
        return Examples(contexts[:end], context_starts[: n + 1], centres[:n], numbers)
    return Examples(centres[:n], numbers, contexts[:end], context_starts[: n + 1])
