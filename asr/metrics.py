"""Word and character error rates, with confidence intervals and alignments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jiwer
import numpy as np
import numpy.typing as npt

from asr.errors import TextError

__all__ = [
    "Comparison",
    "Score",
    "UtteranceScore",
    "align",
    "compare",
    "correct_words",
    "describe",
    "normalized_cross_entropy",
    "score",
    "show_alignment",
]

_MARGINS = ("REF: ", "HYP: ", "     ")
# Resamples x units that are held in memory at once.
_BLOCK = 4_000_000

_Resampled = Literal["speakers", "utterances"]
_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class UtteranceScore:
    """The errors of one utterance; counts of words except where characters are named."""

    id: str
    reference: str
    hypothesis: str
    n_words: int
    substitutions: int
    insertions: int
    deletions: int
    n_characters: int
    character_errors: int

    @property
    def errors(self) -> int:
        """Substitutions, insertions and deletions."""
        return self.substitutions + self.insertions + self.deletions

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return {**vars(self), "errors": self.errors}


@dataclass(frozen=True)
class Score:
    """Error rates over all utterances, as fractions.

        WER = (substitutions + insertions + deletions) / words of the references

    Args:
        wer: word error rate, 0 or more; the number of insertions where no reference has words
        cer: character error rate, spaces between words counted as characters
        n_utterances: number of utterances
        n_words: words in the references
        n_characters: characters in the references
        substitutions: words of the references that were recognised as others
        insertions: words of the hypotheses that nobody said
        deletions: words of the references that were left out
        sentence_error_rate: part of the utterances with any word error
        interval: 95 % bootstrap interval of the WER; None with fewer than two units
        interval_over: what was resampled
        utterances: the counts of every utterance
    """

    wer: float
    cer: float
    n_utterances: int
    n_words: int
    n_characters: int
    substitutions: int
    insertions: int
    deletions: int
    sentence_error_rate: float
    interval: tuple[float, float] | None
    interval_over: _Resampled
    utterances: tuple[UtteranceScore, ...]

    def worst(self, n: int) -> list[UtteranceScore]:
        """The n utterances with the most word errors; equal ones stay in order."""
        wrong = [utterance for utterance in self.utterances if utterance.errors]
        return sorted(wrong, key=lambda utterance: -utterance.errors)[:n]

    def to_dict(self, n_worst: int = 10) -> dict[str, Any]:
        """All fields for JSON, with the n worst utterances and their alignments for all."""
        fields = {name: value for name, value in vars(self).items() if name != "utterances"}
        worst = [
            {**utterance.to_dict(), "alignment": align(utterance.reference, utterance.hypothesis)}
            for utterance in self.worst(n_worst)
        ]
        return {**fields, "worst": worst}


@dataclass(frozen=True)
class Comparison:
    """How much better or worse system B is than system A on the same utterances.

    Args:
        wer_a: word error rate of A
        wer_b: word error rate of B
        difference: wer_b - wer_a; negative where B is better
        interval: 95 % paired bootstrap interval of it; None with fewer than two units
        probability_of_improvement: part of the resamples in which B has fewer errors than A
        interval_over: what was resampled
    """

    wer_a: float
    wer_b: float
    difference: float
    interval: tuple[float, float] | None
    probability_of_improvement: float
    interval_over: _Resampled

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return dict(vars(self))


def score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    speakers: Sequence[str | None] | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Score:
    """Count the errors of hypotheses against references.

    Words are what white space parts; nothing else is changed, so case and punctuation count.
    Counts and rates are jiwer's.  The interval comes from a bootstrap over speakers where at
    least two are known, because errors of one speaker go together, else over utterances;
    utterances without a speaker are units of their own.

    Args:
        references: what was said
        hypotheses: what was recognised, in the same order
        ids: names of the utterances; without them their numbers from 1
        speakers: the speaker of each utterance, None where not known
        n_bootstrap: resamples; 0 gives no interval
        seed: of the resampling

    Raises:
        TextError: nothing to score, or lists of different lengths

    Reference: Bisani and Ney 2004, Bootstrap estimates for confidence intervals in ASR
    performance evaluation.
    """
    _check_lengths(references, hypotheses=hypotheses, ids=ids, speakers=speakers)
    utterances = _count(references, hypotheses, ids)
    errors = np.array([utterance.errors for utterance in utterances])
    words = np.array([utterance.n_words for utterance in utterances])
    units, interval_over = _units(len(utterances), speakers)
    rates = _resample(units, np.stack([errors, words]), n_bootstrap, seed)
    n_characters = sum(utterance.n_characters for utterance in utterances)
    return Score(
        wer=float(_rate(np.array([errors.sum(), words.sum()]))),
        cer=sum(utterance.character_errors for utterance in utterances) / max(n_characters, 1),
        n_utterances=len(utterances),
        n_words=int(words.sum()),
        n_characters=n_characters,
        substitutions=sum(utterance.substitutions for utterance in utterances),
        insertions=sum(utterance.insertions for utterance in utterances),
        deletions=sum(utterance.deletions for utterance in utterances),
        sentence_error_rate=float((errors > 0).mean()),
        interval=_interval(rates, units),
        interval_over=interval_over,
        utterances=tuple(utterances),
    )


def compare(
    references: Sequence[str],
    hypotheses_a: Sequence[str],
    hypotheses_b: Sequence[str],
    *,
    speakers: Sequence[str | None] | None = None,
    n_bootstrap: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two systems on the same utterances by a paired bootstrap.

    Each resample takes the same units for both, so that what is hard for both cancels out.

    Args:
        references: what was said
        hypotheses_a: what system A recognised
        hypotheses_b: what system B recognised
        speakers: the speaker of each utterance, None where not known
        n_bootstrap: resamples, 1 or more
        seed: of the resampling

    Raises:
        TextError: nothing to score, or lists of different lengths

    Reference: Bisani and Ney 2004.
    """
    _check_lengths(
        references, hypotheses_a=hypotheses_a, hypotheses_b=hypotheses_b, speakers=speakers
    )
    errors_a = np.array([u.errors for u in _count(references, hypotheses_a, None)])
    errors_b = np.array([u.errors for u in _count(references, hypotheses_b, None)])
    words = np.array([len(reference.split()) for reference in references])
    units, interval_over = _units(len(references), speakers)
    counts = np.stack([errors_b - errors_a, words])
    differences = _resample(units, counts, n_bootstrap, seed)
    wer_a = float(_rate(np.array([errors_a.sum(), words.sum()])))
    wer_b = float(_rate(np.array([errors_b.sum(), words.sum()])))
    return Comparison(
        wer_a=wer_a,
        wer_b=wer_b,
        difference=wer_b - wer_a,
        interval=_interval(differences, units),
        probability_of_improvement=float((differences < 0).mean()),
        interval_over=interval_over,
    )


def align(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Pairs of reference and hypothesis words; "" for the missing one of an error.

    The alignment has the fewest errors; it is jiwer's, and the one that `score` counts.
    """
    output = jiwer.process_words(_spaced(reference), _spaced(hypothesis))
    left, right = output.references[0], output.hypotheses[0]
    pairs: list[tuple[str, str]] = []
    for chunk in output.alignments[0]:
        ours = left[chunk.ref_start_idx : chunk.ref_end_idx]
        theirs = right[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "delete":
            pairs.extend((word, "") for word in ours)
        elif chunk.type == "insert":
            pairs.extend(("", word) for word in theirs)
        else:
            pairs.extend(zip(ours, theirs, strict=True))
    return pairs


def correct_words(reference: str, hypothesis: str) -> list[bool]:
    """Whether each word of the hypothesis was said, by the alignment of `align`."""
    return [left == right for left, right in align(reference, hypothesis) if right]


def normalized_cross_entropy(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """How much confidences tell of which words are right.

        NCE = 1 - H(confidences) / H(p),   p = part of the words that are right
        H(c) = -sum of log c over the right words - sum of log (1 - c) over the wrong ones

    1 is perfect; 0 is as good as giving p to all words, and less than 0 worse than that.

    Args:
        confidences: (N,) from 0 to 1; those within 1e-3 of either end count as 1e-3 from it, for
            one sure error would make all the rest worth nothing.
        correct: (N,).

    Returns:
        NaN if all words are right or all are wrong.

    Reference: Siu, Gish and Richardson, "Improved estimation, evaluation and applications of
    confidence measures for speech recognition", Eurospeech 1997; NIST SCLITE, "-o" NCE.
    """
    right = np.asarray(correct, np.bool_)
    share = right.mean() if len(right) else 0.0
    if not 0 < share < 1:
        return float("nan")
    values = np.clip(np.asarray(confidences, np.float64), 1e-3, 1 - 1e-3)
    entropy = -np.log(np.where(right, values, 1 - values)).mean()
    return float(1 + entropy / (share * np.log(share) + (1 - share) * np.log(1 - share)))


def show_alignment(reference: str, hypothesis: str, width: int = 100) -> str:
    """The reference, the hypothesis below it, and S, I or D below each error.

    Args:
        width: columns after which the three lines go on in three further ones
    """
    groups: list[list[tuple[str, str, str]]] = [[]]
    column = len(_MARGINS[0])
    for left, right in align(reference, hypothesis):
        size = max(len(left), len(right))
        if groups[-1] and column + size > width:
            groups.append([])
            column = len(_MARGINS[0])
        column += size + 1
        row = (left or "*" * size, right or "*" * size, _error_letter(left, right))
        groups[-1].append((row[0].ljust(size), row[1].ljust(size), row[2].ljust(size)))
    return "\n".join(
        (margin + " ".join(cells[line] for cells in group)).rstrip()
        for group in groups
        for line, margin in enumerate(_MARGINS)
    )


def describe(score: Score, n_worst: int = 0) -> str:
    """A score in lines of text, with the n worst utterances aligned."""
    interval = ""
    if score.interval:
        low, high = score.interval
        interval = (
            f"  (95 % interval {low:.2%} to {high:.2%}, bootstrap over {score.interval_over})"
        )
    n_wrong = sum(utterance.errors > 0 for utterance in score.utterances)
    parts = [
        f"WER {score.wer:.2%}{interval}\n"
        f"CER {score.cer:.2%}\n"
        f"words {score.n_words:,}: {score.substitutions:,} substituted, {score.insertions:,} "
        f"inserted, {score.deletions:,} deleted\n"
        f"utterances {score.n_utterances:,}: {n_wrong:,} with errors "
        f"({score.sentence_error_rate:.2%})"
    ]
    parts.extend(
        f"{utterance.id}: {utterance.errors} errors in {utterance.n_words} words\n"
        + show_alignment(utterance.reference, utterance.hypothesis)
        for utterance in score.worst(n_worst)
    )
    return "\n\n".join(parts)


def _error_letter(reference: str, hypothesis: str) -> str:
    if reference == hypothesis:
        return ""
    if not reference:
        return "I"
    return "S" if hypothesis else "D"


def _check_lengths(references: Sequence[str], **others: Sequence[Any] | None) -> None:
    if not references:
        raise TextError("no references: there is nothing to score")
    for name, values in others.items():
        if values is not None and len(values) != len(references):
            raise TextError(
                f"{len(references)} references but {len(values)} {name}; one each is needed"
            )


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _count(
    references: Sequence[str], hypotheses: Sequence[str], ids: Sequence[str] | None
) -> list[UtteranceScore]:
    left = [_spaced(text) for text in references]
    right = [_spaced(text) for text in hypotheses]
    words = jiwer.process_words(left, right)
    characters = jiwer.process_characters(left, right)
    utterances: list[UtteranceScore] = []
    for index, (reference, hypothesis) in enumerate(zip(left, right, strict=True)):
        substitutions, insertions, deletions = _edits(words.alignments[index])
        utterances.append(
            UtteranceScore(
                id=ids[index] if ids is not None else str(index + 1),
                reference=reference,
                hypothesis=hypothesis,
                n_words=len(reference.split()),
                substitutions=substitutions,
                insertions=insertions,
                deletions=deletions,
                n_characters=len(reference),
                character_errors=sum(_edits(characters.alignments[index])),
            )
        )
    return utterances


def _edits(chunks: Sequence[jiwer.AlignmentChunk]) -> tuple[int, int, int]:
    counts = {"equal": 0, "substitute": 0, "insert": 0, "delete": 0}
    for chunk in chunks:
        n_left = chunk.ref_end_idx - chunk.ref_start_idx
        counts[chunk.type] += max(n_left, chunk.hyp_end_idx - chunk.hyp_start_idx)
    return counts["substitute"], counts["insert"], counts["delete"]


def _units(n: int, speakers: Sequence[str | None] | None) -> tuple[_Counts, _Resampled]:
    """The number of the unit that each utterance belongs to, and what the units are."""
    if speakers is None or len({speaker for speaker in speakers if speaker is not None}) < 2:
        return np.arange(n), "utterances"
    numbers: dict[object, int] = {}
    keys = ((index,) if speaker is None else speaker for index, speaker in enumerate(speakers))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys]), "speakers"


def _rate(counts: _Counts) -> npt.NDArray[np.float64]:
    """Errors per word of (2, ...) summed errors and words."""
    rates: npt.NDArray[np.float64] = counts[0] / np.maximum(counts[1], 1)
    return rates


def _resample(
    units: _Counts, counts: _Counts, n_bootstrap: int, seed: int
) -> npt.NDArray[np.float64]:
    """The rate in each of n_bootstrap resamples of units, drawn with replacement.

    Args:
        units: (N,) the unit of each utterance, from 0
        counts: (2, N) errors and words of each utterance
    """
    n_units = int(units.max()) + 1
    sums = np.stack([np.bincount(units, weights=row, minlength=n_units) for row in counts])
    generator = np.random.default_rng(seed)
    probabilities = np.full(n_units, 1 / n_units)
    block = max(1, _BLOCK // n_units)
    rates = []
    for start in range(0, n_bootstrap, block):
        size = min(block, n_bootstrap - start)
        # How often each unit was drawn says the same as which ones were, in one product.
        drawn = generator.multinomial(n_units, probabilities, size=size)
        rates.append(_rate(sums @ drawn.T))
    return np.concatenate(rates) if rates else np.empty(0)


def _interval(rates: npt.NDArray[np.float64], units: _Counts) -> tuple[float, float] | None:
    if not len(rates) or units.max() < 1:
        return None
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)
