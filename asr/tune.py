"""Finding the weights of a beam search on a dev set, from stored log-probabilities.

A search with a wide beam gives n-best lists, whose parts of the score are known one by one; every
choice of weights reorders them at no cost.  The best choice is searched with again, its n-best
lists join the earlier ones, and so on (minimum error rate training, Och 2003).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from scipy.ndimage import uniform_filter
from torch import Tensor

from asr.decode.beam import BeamHypothesis, BeamOptions
from asr.decode.calibration import UNCALIBRATED, calibrated, fit_calibration
from asr.decode.decoder import Decoder
from asr.errors import ConfigError, DependencyError
from asr.metrics import correct_words, normalized_cross_entropy

__all__ = [
    "PRIOR_SCALES",
    "Confidences",
    "Emissions",
    "Grid",
    "Tuning",
    "calibrate",
    "draw_surface",
    "tune",
]

_Doubles = NDArray[np.float64]

# Hypotheses of each utterance in a round.
_N_BEST = 50
_WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
PRIOR_SCALES = (0.0, 0.2, 0.4, 0.6, 0.8)
"""What `asr tune` tries."""

_POSTERIOR_SCALES = (0.1, 0.2, 0.4, 1.0)


@dataclass(frozen=True)
class Emissions:
    """What the acoustic model made of a dev set.

    Attributes:
        log_probs: of each utterance, (T, V).
        durations: of each, in seconds.
        references: what was said, as it is scored.
    """

    log_probs: tuple[Tensor, ...]
    durations: tuple[float, ...]
    references: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """The weights that are tried; one value leaves a weight as it is.

    A prior scale changes what is found, so that each takes a search of its own, before all others.
    """

    alpha: tuple[float, ...] = tuple(np.arange(0.0, 2.01, 0.1).round(3).tolist())
    beta: tuple[float, ...] = tuple(np.arange(-2.0, 6.01, 0.25).round(3).tolist())
    gamma: tuple[float, ...] = (0.0,)
    prior_scale: tuple[float, ...] = (0.0,)


@dataclass(frozen=True)
class Tuning:
    """What was found.

    Attributes:
        options: the weights and the width.
        wer: on the dev set with them, a fraction.
        surface: WER on the n-best lists for each (alpha, beta), (A, B), gamma at its best; for
            each (gamma, beta), (G, B), where one alpha only was tried.
        grid: what the axes of the surface are.
        widths: WER and seconds of decoding for each width tried.
        rounds: weights and WER of the searches that gave n-best lists.
    """

    options: BeamOptions
    wer: float
    surface: _Doubles
    grid: Grid
    widths: tuple[tuple[int, float, float], ...]
    rounds: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Confidences:
    """How much word confidences tell of errors, by `asr.metrics.normalized_cross_entropy`.

    Attributes:
        options: with what calibrates them.
        before: of the uncalibrated ones.
        after: of the calibrated ones, on the utterances they were calibrated on.
    """

    options: BeamOptions
    before: float
    after: float


@dataclass
class _Pool:
    """The hypotheses of one utterance: errors, and the parts of their scores."""

    reference: list[str]
    parts: dict[str, tuple[int, float, float, float, int]]

    def add(self, hypotheses: Sequence[BeamHypothesis], beta: float) -> None:
        for each in hypotheses:
            words = each.text.split()
            errors = Levenshtein.distance(self.reference, words)
            rest = each.bonus - beta * len(words)
            # The sum over alignments is the more complete, the larger.
            known = self.parts.get(each.text)
            if known is None or known[1] < each.acoustic + rest:
                fixed = each.acoustic + rest
                self.parts[each.text] = (errors, fixed, each.ngram, each.neural, len(words))


def tune(
    decoder: Decoder,
    emissions: Emissions,
    grid: Grid,
    *,
    n_rounds: int = 3,
    tolerance: float = 0.001,
    widest: int | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Tuning:
    """Find the weights with the least word error rate, then the narrowest beam for it.

    Args:
        decoder: its options are where the search starts; width and thresholds are those of the
            rounds.
        emissions: the dev set.
        grid: what to try.
        n_rounds: searches, each with the best weights so far; ends before when nothing changes.
            Where alpha and gamma are searched the first is three: each model alone, and both.
        tolerance: WER, a fraction, that a narrower beam may lose.
        widest: beam that is tried beside that of the options; None for 512.
        on_progress: told what has been found.

    Raises:
        ConfigError: there is no word in the references.

    Reference: Och, "Minimum error rate training in statistical machine translation", ACL 2003.
    """
    n_words = sum(len(reference.split()) for reference in emissions.references)
    if not n_words:
        raise ConfigError("the manifest has no word of reference text; a dev set is needed")
    dev = _Dev(decoder, emissions, grid, n_words)
    todo = _starts(_with_prior_scale(dev, on_progress), grid)
    pools = dev.empty_pools()
    n_searches = n_rounds + len(todo) - 1
    rounds: list[tuple[float, float, float, float]] = []
    surface = np.zeros((len(grid.alpha), len(grid.beta)))
    best, best_wer = todo[0], np.inf
    searched: set[BeamOptions] = set()
    while todo and len(rounds) < n_searches:
        options = todo.pop(0)
        searched.add(options)
        wer = dev.search(options, pools)
        rounds.append((options.alpha, options.beta, options.gamma, wer))
        on_progress(
            f"alpha {options.alpha:g}  beta {options.beta:g}  gamma {options.gamma:g}: "
            f"WER {wer:.2%}"
        )
        if wer < best_wer:
            best, best_wer = options, wer
        if todo:
            continue
        following, _, surface = dev.reordered(options, pools)
        if following not in searched:
            todo = [following]
    tried = {each for each in _WIDTHS if widest is None or each <= widest} | {best.width}
    widths, width, wer = _narrowest(dev, best, sorted(tried), tolerance, on_progress)
    return Tuning(replace(best, width=width), wer, surface, grid, widths, tuple(rounds))


@dataclass(frozen=True)
class _Dev:
    """The dev set, searched and reordered."""

    decoder: Decoder
    emissions: Emissions
    grid: Grid
    n_words: int

    def empty_pools(self) -> list[_Pool]:
        return [_Pool(reference.split(), {}) for reference in self.emissions.references]

    def search(self, options: BeamOptions, pools: Sequence[_Pool]) -> float:
        """Add the n-best of a search to the pools; return its WER."""
        found = self.decoder.with_options(replace(options, n_best=_N_BEST)).decode(
            self.emissions.log_probs, self.emissions.durations
        )
        for pool, hypotheses in zip(pools, found, strict=True):
            pool.add(hypotheses, options.beta)
        return _wer([each[0].text for each in found], self.emissions, self.n_words)

    def reordered(
        self, options: BeamOptions, pools: Sequence[_Pool]
    ) -> tuple[BeamOptions, float, _Doubles]:
        """Return the weights under which the pools have the least WER, it, and its surface."""
        grid = self.grid
        errors = _errors(pools, grid) / self.n_words
        place = np.unravel_index(int(_smoothed(errors).argmin()), errors.shape)
        alpha, beta, gamma = place
        surface = errors[:, :, gamma] if len(grid.alpha) > 1 else errors[0].T
        best = replace(
            options,
            alpha=grid.alpha[alpha],
            beta=grid.beta[beta],
            gamma=grid.gamma[gamma],
        )
        return best, float(errors[place]), surface


def _with_prior_scale(dev: _Dev, on_progress: Callable[[str], None]) -> BeamOptions:
    """Return the options to start with: the prior scale whose n-best lists give the least WER."""
    options = dev.decoder.search.options
    if len(dev.grid.prior_scale) == 1:
        return options
    found = []
    for scale in dev.grid.prior_scale:
        pools = dev.empty_pools()
        dev.search(scaled := replace(options, prior_scale=scale), pools)
        best, wer, _ = dev.reordered(scaled, pools)
        on_progress(f"prior scale {scale:g}: WER {wer:.2%} of its n-best lists at their best")
        found.append((wer, best))
    return min(found, key=lambda each: each[0])[1]


def _starts(options: BeamOptions, grid: Grid) -> list[BeamOptions]:
    """Return what to search with first: between two language models, each alone and both.

    From the n-best lists of one mixture another looks worse than it is, because what it alone
    would have found is not among them.
    """
    if len(grid.alpha) == 1 or len(grid.gamma) == 1:
        return [options]
    weight = options.alpha + options.gamma
    return [
        replace(options, alpha=weight, gamma=0.0),
        options,
        replace(options, alpha=0.0, gamma=weight),
    ]


def _narrowest(
    dev: _Dev,
    options: BeamOptions,
    tried: Sequence[int],
    tolerance: float,
    on_progress: Callable[[str], None],
) -> tuple[tuple[tuple[int, float, float], ...], int, float]:
    """Return what each width gives, and the smallest that loses no more than the tolerance."""
    widths = []
    for width in tried:
        start = time.perf_counter()
        found = dev.decoder.with_options(replace(options, width=width, n_best=1)).decode(
            dev.emissions.log_probs, dev.emissions.durations
        )
        seconds = time.perf_counter() - start
        wer = _wer([each[0].text for each in found], dev.emissions, dev.n_words)
        widths.append((width, wer, seconds))
        on_progress(f"beam {width}: WER {wer:.2%}, {seconds:.1f} s")
    least = min(wer for _, wer, _ in widths)
    width, wer, _ = next(each for each in widths if each[1] <= least + tolerance)
    return tuple(widths), width, wer


def calibrate(decoder: Decoder, emissions: Emissions, options: BeamOptions) -> Confidences:
    """Find the scale of the posteriors and the map under which confidences tell the most.

    Args:
        decoder: what decodes.
        emissions: the dev set.
        options: everything else that it decodes with.

    Returns:
        The options as they are, and NaN, where all words are right or all are wrong.
    """
    plain = replace(options, n_best=1, calibration=UNCALIBRATED)
    each = decoder.with_options(plain).decode_scaled(
        emissions.log_probs, emissions.durations, _POSTERIOR_SCALES
    )
    before = after = float("nan")
    best = options
    for scale, found in zip(_POSTERIOR_SCALES, each, strict=True):
        shares: list[float] = []
        correct: list[bool] = []
        for (first, *_), reference in zip(found, emissions.references, strict=True):
            shares += [word.confidence for word in first.words]
            correct += correct_words(reference, first.text)
        calibration = fit_calibration(shares, correct)
        if scale == 1.0:
            before = normalized_cross_entropy(shares, correct)
        nce = normalized_cross_entropy(calibrated(shares, calibration), correct)
        if nce > after or (math.isnan(after) and not math.isnan(nce)):
            after = nce
            best = replace(options, posterior_scale=scale, calibration=calibration)
    return Confidences(best, before, after)


def _wer(texts: Sequence[str], emissions: Emissions, n_words: int) -> float:
    errors = sum(
        Levenshtein.distance(reference.split(), text.split())
        for reference, text in zip(emissions.references, texts, strict=True)
    )
    return float(errors / n_words)


def _errors(pools: Sequence[_Pool], grid: Grid) -> _Doubles:
    """Return the word errors for each choice of weights, (A, B, G)."""
    alpha, beta, gamma = np.meshgrid(grid.alpha, grid.beta, grid.gamma, indexing="ij")
    total = np.zeros(alpha.shape)
    for pool in pools:
        errors, fixed, ngram, neural, n_words = map(
            np.array, zip(*pool.parts.values(), strict=True)
        )
        scores = (
            fixed + alpha[..., None] * ngram + beta[..., None] * n_words + gamma[..., None] * neural
        )
        total += errors[scores.argmax(axis=-1)]
    return total


def _smoothed(errors: _Doubles) -> _Doubles:
    """Return the mean over neighbours: a lucky point among bad ones is not the best."""
    return np.asarray(uniform_filter(errors, size=3, mode="nearest"))


def draw_surface(tuning: Tuning, picture: Path) -> None:
    """Draw the WER over alpha, or gamma where one alpha only was tried, and beta.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("the surface needs matplotlib: pip install matplotlib") from None
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    grid, best = tuning.grid, tuning.options
    betas = [beta for _, beta, _, _ in tuning.rounds]
    if len(grid.alpha) > 1:
        label, values, weight = "alpha (weight of the n-gram model)", grid.alpha, best.alpha
        weights = [alpha for alpha, _, _, _ in tuning.rounds]
    else:
        label, values, weight = "gamma (weight of the neural model)", grid.gamma, best.gamma
        weights = [gamma for _, _, gamma, _ in tuning.rounds]
    axes = figure.add_subplot(xlabel=label, ylabel="beta (score of a word)")
    levels = axes.contourf(values, grid.beta, 100 * tuning.surface.T, 20, cmap="viridis_r")
    figure.colorbar(levels, label="WER of the n-best lists (%)")
    axes.plot(weights, betas, "w.-")
    axes.plot(weight, best.beta, "r*", markersize=12)
    figure.savefig(picture, dpi=120)
