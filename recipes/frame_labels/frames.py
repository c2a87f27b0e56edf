"""Utterances with a phone for each frame, made from when each letter of a text was said.

`asr align` tells when its model is surest of each letter.  A word lasts from a little before its
first letter to a little after its last; its phones, those that the dictionary gives first, divide
it as the letters do: the border behind phone j of n is where the letters are at j/n of the word.
What belongs to no word is silence, and the frames of a word
that the dictionary does not have are of no use.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.data import FeatureSource
from asr.errors import ManifestError
from asr.features import FeatureExtractor, n_frames
from asr.lexicon import Lexicon
from asr.manifest import Utterance, read_lines, read_manifest

__all__ = [
    "SILENCE",
    "UNKNOWN",
    "LabelledUtterance",
    "Segment",
    "labels_of_frames",
    "phone_segments",
    "read_labelled",
    "read_labels",
]

SILENCE = "SIL"
UNKNOWN = -100
"""What stands for the phone of a frame that has none: in the padding, and in unknown words."""
MARGIN_SECONDS = 0.08
"""How long a word goes on before its first letter and after its last one at most."""

_HOP_SECONDS, _CENTRE_SECONDS = 0.01, 0.0125


@dataclass(frozen=True)
class Segment:
    """A phone, or None for a word without phones, and when it was said, in seconds."""

    phone: str | None
    start: float
    end: float


@dataclass(frozen=True)
class LabelledUtterance:
    """An utterance as frames.

    Attributes:
        utterance: what and where it is.
        features: normalised, (T, F).
        labels: numbers of phones, or UNKNOWN, (T,) int64.
    """

    utterance: Utterance
    features: Tensor
    labels: Tensor


def phone_segments(alignment: Mapping[str, Any], lexicon: Lexicon) -> list[Segment]:
    """Return when each phone was said, without the silences.

    Args:
        alignment: a line of `asr align --format json`, of a model that writes letters.
        lexicon: the phones of words.
    """
    letters = _letters_of_words(alignment["tokens"])
    segments: list[Segment] = []
    for word, (start, end) in zip(letters, _extents(letters), strict=True):
        some = lexicon.pronounce("".join(letter["text"] for letter in word)) or (None,)
        centres = [(letter["start"] + letter["end"]) / 2 for letter in word]
        # Letter k is in the middle of its share of the word, which begins at 0 and ends at 1.
        places = [0, *((k + 0.5) / len(word) for k in range(len(word))), 1]
        borders = np.interp(
            np.arange(len(some) + 1) / len(some), places, [start, *centres, end]
        ).tolist()
        segments += [Segment(p, *edges) for p, edges in zip(some, pairwise(borders), strict=True)]
    return segments


def _letters_of_words(tokens: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    words: list[list[Mapping[str, Any]]] = [[]]
    for token in tokens:
        if token["text"].strip():
            words[-1].append(token)
        else:
            words.append([])
    return [word for word in words if word]


def _extents(words: Sequence[Sequence[Mapping[str, Any]]]) -> list[tuple[float, float]]:
    """Return start and end of each word with margins; close neighbours meet in the middle."""
    ends = [word[-1]["end"] for word in words]
    starts = [word[0]["start"] for word in words]
    gaps = [after - before for before, after in zip(ends, starts[1:], strict=False)]
    before = [min(MARGIN_SECONDS, gap / 2) for gap in [starts[0] * 2, *gaps]]
    after = [min(MARGIN_SECONDS, gap / 2) for gap in [*gaps, 2 * MARGIN_SECONDS]]
    times = zip(starts, before, ends, after, strict=True)
    return [(start - early, end + late) for start, early, end, late in times]


def labels_of_frames(
    segments: Sequence[Segment], n_frames: int, stride: int, phones: Sequence[str]
) -> NDArray[np.int64]:
    """Return which phone is said in the middle of each frame, (T,).

    Args:
        segments: in order, without overlap.
        n_frames: T.
        stride: hops of 10 ms from one frame to the next.
        phones: the first is silence.
    """
    times = np.arange(n_frames) * stride * _HOP_SECONDS + _CENTRE_SECONDS
    starts = np.array([segment.start for segment in segments])
    ends = np.array([segment.end for segment in segments])
    ids = np.array([phones.index(s.phone) if s.phone else UNKNOWN for s in segments])
    number = np.searchsorted(starts, times, side="right") - 1
    is_inside = (number >= 0) & (times < ends[number])
    return np.where(is_inside, ids[number], 0)


def read_labels(
    manifest: Path, alignments: Path, lexicon: Lexicon, stride: int
) -> list[NDArray[np.int64]]:
    """Read the labels of a manifest's utterances without their audio; see `read_labelled`."""
    phones = (SILENCE, *lexicon.phones)
    labels = []
    for utterance, segments in _read_segments(manifest, alignments, lexicon):
        n_kept = -(-n_frames(round(utterance.duration * 16_000)) // stride)
        labels.append(labels_of_frames(segments, n_kept, stride, phones))
    return labels


def _read_segments(
    manifest: Path, alignments: Path, lexicon: Lexicon
) -> list[tuple[Utterance, list[Segment]]]:
    utterances = read_manifest(manifest)
    found = {line["audio_filepath"]: line for line in map(json.loads, read_lines(alignments))}
    for utterance in utterances:
        if utterance.audio_filepath.as_posix() not in found:
            raise ManifestError(f"{alignments}: has no {utterance.id}; align {manifest} again")
    return [(u, phone_segments(found[u.audio_filepath.as_posix()], lexicon)) for u in utterances]


def read_labelled(
    manifest: Path, alignments: Path, lexicon: Lexicon, extractor: FeatureExtractor, stride: int
) -> list[LabelledUtterance]:
    """Read the utterances of a manifest with their labels.

    Args:
        manifest: JSON lines.
        alignments: what `asr align --format json` wrote of it.
        lexicon: the phones of words.
        extractor: the front end.
        stride: every how many frames one is kept.

    Raises:
        ManifestError: an utterance was not aligned.
    """
    segments = _read_segments(manifest, alignments, lexicon)
    source = FeatureSource([utterance for utterance, _ in segments], extractor)
    phones = (SILENCE, *lexicon.phones)
    labelled = []
    for index, (utterance, some) in enumerate(segments):
        features = source.features(index)
        features = ((features - features.mean(0)) / features.std(0).clamp_min(1e-3))[::stride]
        labels = labels_of_frames(some, len(features), stride, phones)
        labelled.append(LabelledUtterance(utterance, features, torch.from_numpy(labels)))
    return labelled
