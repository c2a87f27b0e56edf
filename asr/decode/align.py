"""Forced alignment: when each token and word of a known text was said."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.decode.hypothesis import Word
from asr.errors import AsrError, TextError
from asr.text import Tokenizer, frames_needed
from lm.automaton import compiled

__all__ = ["AlignedToken", "Alignment", "align", "best_alignments", "restore_words"]

_BLANK = 0


@dataclass(frozen=True)
class AlignedToken:
    """One token and where it was said.

    Attributes:
        text: The tokenizer's symbol.
        start: Start of its first frame, seconds from the utterance's start.
        end: End of its last frame, seconds; start < end.
        confidence: Geometric mean of its probability over its frames, 0 to 1.
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Alignment:
    """The best alignment of a text with its audio.

    Attributes:
        tokens: All tokens of the text, in order.
        words: Its words; where the tokenizer cannot tell words apart, one per token.
        score: log P(alignment | audio), a natural logarithm.
    """

    tokens: tuple[AlignedToken, ...]
    words: tuple[Word, ...]
    score: float


def align(
    log_probs: Tensor,
    lengths: Tensor,
    texts: Sequence[str],
    tokenizer: Tokenizer,
    frame_seconds: float,
    *,
    names: Sequence[str] | None = None,
    durations: Sequence[float] | None = None,
) -> list[Alignment]:
    """Align a batch of texts with the acoustic model's output.

    Times and confidences are those that `asr.decode.greedy` gives a text that it finds: a word
    lasts from its first token's first frame to its last token's last frame, and its confidence is
    the geometric mean over its tokens of the geometric mean over their frames.

    Args:
        log_probs: (B, T, V), natural logarithms; symbol 0 is the blank.
        lengths: (B,) int64, frames.
        texts: B texts that the tokenizer can encode; an empty one is aligned with silence.
        tokenizer: That of the model.
        frame_seconds: Seconds from one frame to the next: hop times subsampling factor.
        names: Of the utterances, for error messages.
        durations: Seconds of each utterance; times stop there.

    Returns:
        B alignments, in the batch's order.

    Raises:
        TextError: If a text has units that the tokenizer lacks, or needs more frames than there
            are.
        AsrError: If the log-probabilities of an utterance are NaN or forbid its text.
    """
    names = names or [f"utterance {row} of the batch" for row in range(len(texts))]
    tokens = [_encode(tokenizer, *pair) for pair in zip(texts, names, strict=True)]
    paths, scores = best_alignments(log_probs, lengths, tokens, names=names)
    limits = durations if durations is not None else [math.inf] * len(texts)
    rows = zip(log_probs.detach().float().cpu().numpy(), paths, tokens, scores, limits, strict=True)
    return [_alignment(*row, tokenizer=tokenizer, frame_seconds=frame_seconds) for row in rows]


def best_alignments(
    log_probs: Tensor,
    lengths: Tensor,
    tokens: Sequence[Sequence[int]],
    *,
    names: Sequence[str] | None = None,
) -> tuple[list[NDArray[np.int32]], list[float]]:
    """Find the likeliest CTC alignment of each token sequence (Viterbi), exactly.

        path = argmax over paths that collapse to the tokens of sum over t of log P(path[t] | t)

    The utterances of a batch share torch's threads.  Memory grows with the tokens times the
    square root of the frames, so that an hour of speech can be aligned in one piece.

    Args:
        log_probs: (B, T, V), natural logarithms; symbol 0 is the blank.
        lengths: (B,) int64, frames.
        tokens: B sequences of token ids, without blanks.
        names: Of the utterances, for error messages.

    Returns:
        For each utterance, the position in its tokens that each frame stands for, -1 for a blank
        frame; and the log-probability of the path.

    Raises:
        TextError: If a sequence needs more frames than there are.
        AsrError: If the log-probabilities of an utterance are NaN or forbid its tokens.

    Reference: Graves et al., "Connectionist temporal classification", ICML 2006, sections 3 and 4.
    """
    names = names or [f"utterance {row} of the batch" for row in range(len(tokens))]
    frames = log_probs.detach().float().cpu().numpy()
    jobs = []
    for row, length, ids, name in zip(frames, lengths.tolist(), tokens, names, strict=True):
        needed = frames_needed(ids)
        if needed > length:
            raise TextError(
                f"{name}: its text of {len(ids)} tokens needs at least {needed} frames, but the "
                f"audio has {length}; check that the text belongs to this recording"
            )
        if np.isnan(row[:length]).any():
            raise AsrError(
                f"{name}: the model's output is NaN: its weights are damaged or the precision too "
                "low; check the model, or use float32"
            )
        jobs.append((np.ascontiguousarray(row[:length]), np.array(ids, np.int64)))
    n_threads = max(1, min(torch.get_num_threads(), len(jobs)))
    if n_threads == 1:  # starting a thread takes longer than a short utterance
        found = [_viterbi(*job) for job in jobs]
    else:
        with ThreadPoolExecutor(n_threads, "align") as executor:
            found = list(executor.map(lambda job: _viterbi(*job), jobs))
    for (_, score), name in zip(found, names, strict=True):
        if score == -math.inf:
            raise AsrError(
                f"{name}: the model gives its text probability 0; check that the text belongs to "
                "this recording"
            )
    return [path for path, _ in found], [float(score) for _, score in found]


def restore_words(
    words: Sequence[Word], text: str, normalize: Callable[[str], str]
) -> tuple[Word, ...]:
    """Give aligned words the spelling that they had before the text was normalised.

    Words that one written word stands for ("25", TWENTY FIVE) become one, from the first's start
    to the last's end, with the geometric mean of their confidences; what is not spoken (a dash)
    is written behind the word before it.  Where several written words were normalised as one
    ("$5 million", FIVE MILLION DOLLARS), the normalised words stay.

    Args:
        words: Of the normalised text.
        text: The text as it was written.
        normalize: What normalised it.
    """
    spoken = [normalize(written).split() for written in text.split()]
    places = _match([word for part in spoken for word in part], [word.text for word in words])
    labels: dict[int, str] = {}  # of the groups of words that begin at a word
    ends: dict[int, int] = {}
    index, last, waiting = 0, -1, ""
    for label, part in zip(text.split(), spoken, strict=True):
        found = places[index : index + len(part)]
        index += len(part)
        if not part and last >= 0:
            labels[last] += label
        elif not part:
            waiting += label
        elif found[0] >= 0 and found == [*range(found[0], found[0] + len(part))]:
            last = found[0]
            labels[last], ends[last], waiting = waiting + label, last + len(part), ""
    restored, first = [], 0
    while first < len(words):
        end = ends.get(first, first + 1)
        group = words[first:end]
        confidence = math.prod(word.confidence for word in group) ** (1 / len(group))
        text = labels.get(first, group[0].text)
        restored.append(Word(text, group[0].start, group[-1].end, confidence))
        first = end
    return tuple(restored)


def _match(one_by_one: list[str], together: list[str]) -> list[int]:
    """Find the place in `together` of each word normalised alone, -1 for none."""
    places = [-1] * len(one_by_one)
    matcher = SequenceMatcher(None, one_by_one, together, autojunk=False)
    for _, low, high, other_low, other_high in matcher.get_opcodes():
        # A single word can depend on its neighbours: "Dr." is DOCTOR before a name.
        if one_by_one[low:high] == together[other_low:other_high] or (
            high - low == other_high - other_low == 1
        ):
            places[low:high] = range(other_low, other_high)
    return places


def _encode(tokenizer: Tokenizer, text: str, name: str) -> list[int]:
    try:
        return tokenizer.encode(text)
    except TextError as error:
        raise TextError(f"{name}: {error}") from None


def _alignment(
    log_probs: NDArray[np.float32],
    path: NDArray[np.int32],
    tokens: Sequence[int],
    score: float,
    limit: float,
    *,
    tokenizer: Tokenizer,
    frame_seconds: float,
) -> Alignment:
    ids = np.array(tokens, np.int64)
    aligned, log_confidences = [], []
    # The path holds each position once and in order, as one run of frames.
    for position, run in groupby(np.flatnonzero(path >= 0), key=path.__getitem__):
        frames = np.fromiter(run, np.int64)
        mean = float(log_probs[frames, ids[position]].mean(dtype=np.float64))
        log_confidences.append(mean)
        aligned.append(
            AlignedToken(
                text=tokenizer.symbols[tokens[position]],
                start=float(frames[0]) * frame_seconds,
                end=min(float(frames[-1] + 1) * frame_seconds, limit),
                confidence=_certainty(mean),
            )
        )
    words = tuple(
        Word(
            text=text,
            start=aligned[first].start,
            end=aligned[last - 1].end,
            confidence=_certainty(float(np.mean(log_confidences[first:last]))),
        )
        for text, first, last in tokenizer.split_words(tokens)
    )
    return Alignment(tuple(aligned), words, score)


def _certainty(log_probability: float) -> float:
    # Log-probabilities that rounding lifted above 0 must not give more than certainty.
    return min(1.0, math.exp(log_probability))


# Moves that are kept at once, one byte each; beyond, the moves of a block are found twice.
_MOST_MOVES = 1 << 22


@compiled
def _viterbi(
    log_probs: NDArray[np.float32], tokens: NDArray[np.int64]
) -> tuple[NDArray[np.int32], float]:
    """Find the best path of one utterance, (T,) positions or -1, and its log-probability.

    Scores are kept for the first frame of each block only; walking back, the moves of a block are
    found anew, unless there is room for all.
    """
    n_frames, n_tokens = len(log_probs), len(tokens)
    path = np.full(n_frames, -1, np.int32)
    if n_frames == 0:
        return path, 0.0
    size = n_frames
    if n_frames * (2 * n_tokens + 1) > _MOST_MOVES:
        size = math.ceil(math.sqrt(n_frames))
    n_blocks = (n_frames + size - 1) // size
    # Scores of the blank before each token and behind the last; of the tokens, one nothing first.
    blanks, labels = np.full(n_tokens + 1, -np.inf), np.full(n_tokens + 1, -np.inf)
    blanks[0] = 0.0
    kept_blanks = np.empty((n_blocks, n_tokens + 1))
    kept_labels = np.empty((n_blocks, n_tokens + 1))
    blank_moves = np.empty((size, n_tokens + 1), np.int8)
    label_moves = np.empty((size, n_tokens + 1), np.int8)
    # What moving on from a token without a blank costs: nothing, unless the next is the same.
    skips = np.zeros(n_tokens + 1)
    skips[0] = -np.inf
    for position in range(1, n_tokens):
        if tokens[position] == tokens[position - 1]:
            skips[position] = -np.inf
    for block in range(n_blocks):
        kept_blanks[block], kept_labels[block] = blanks, labels
        frames = log_probs[block * size : min(n_frames, (block + 1) * size)]
        _advance(frames, tokens, skips, blanks, labels, blank_moves, label_moves)
    position, in_label = n_tokens, labels[n_tokens] > blanks[n_tokens]
    best = labels[n_tokens] if in_label else blanks[n_tokens]
    if best == -np.inf:
        return path, best
    for block in range(n_blocks - 1, -1, -1):
        first, last = block * size, min(n_frames, (block + 1) * size)
        if block < n_blocks - 1:
            blanks, labels = kept_blanks[block], kept_labels[block]
            frames = log_probs[first:last]
            _advance(frames, tokens, skips, blanks, labels, blank_moves, label_moves)
        for frame in range(last - 1, first - 1, -1):
            if in_label:
                path[frame] = position - 1
                move = label_moves[frame - first, position]
                position -= move > 0
                in_label = move != 1
            else:
                in_label = blank_moves[frame - first, position] > 0
    return path, best


@compiled
def _advance(
    frames: NDArray[np.float32],
    tokens: NDArray[np.int64],
    skips: NDArray[np.float64],
    blanks: NDArray[np.float64],
    labels: NDArray[np.float64],
    blank_moves: NDArray[np.int8],
    label_moves: NDArray[np.int8],
) -> None:
    """Take the scores over some frames, and note the moves.

    Row p of `labels` is token p - 1, row p of `blanks` the blank behind it.  A blank is reached
    from itself (move 0) or the token before it (1); a token from itself (0), the blank before it
    (1), or the token before that (2).
    """
    n_tokens = len(tokens)
    heard = np.empty(n_tokens)
    for frame in range(len(frames)):
        row, to_blank, to_label = frames[frame], blank_moves[frame], label_moves[frame]
        for index in range(n_tokens):
            heard[index] = row[tokens[index]]
        # From above, so that what is below still has the scores of the frame before.
        for position in range(n_tokens, 0, -1):
            stay, come, skip = (
                labels[position],
                blanks[position - 1],
                labels[position - 1] + skips[position - 1],
            )
            best, move = stay, 0
            if come > best:
                best, move = come, 1
            if skip > best:
                best, move = skip, 2
            blank = blanks[position]
            to_blank[position] = stay > blank
            blanks[position] = max(stay, blank) + row[0]
            labels[position] = best + heard[position - 1]
            to_label[position] = move
        to_blank[0] = 0
        blanks[0] += row[0]
