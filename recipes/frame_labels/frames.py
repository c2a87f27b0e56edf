"""Utterances with a phone for each frame, made from when each phone of a text was said.

`asr align` tells when its model is surest of each phone.  Between two phones of a word the border
is in the middle; a word lasts from a little before its first phone to a little after its last.
What belongs to no word is silence.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
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
from asr.manifest import Utterance, read_lines, read_manifest
from asr.text import WORD_END

__all__ = [
    "SILENCE",
    "LabelledUtterance",
    "Segment",
    "labels_of_frames",
    "phone_names",
    "phone_segments",
    "read_labelled",
    "read_labels",
    "read_segments",
]

SILENCE = "SIL"
MARGIN_SECONDS = 0.08
"""How long a word goes on before its first phone and after its last one at most."""

_HOP_SECONDS, _CENTRE_SECONDS = 0.01, 0.0125


@dataclass(frozen=True)
class Segment:
    """A phone, and when it was said, in seconds."""

    phone: str
    start: float
    end: float


@dataclass(frozen=True)
class LabelledUtterance:
    """An utterance as frames.

    Attributes:
        utterance: what and where it is.
        features: normalised, (T, F).
        labels: numbers of phones, (T,) int64.
    """

    utterance: Utterance
    features: Tensor
    labels: Tensor


def phone_segments(alignment: Mapping[str, Any]) -> list[Segment]:
    """Return when each phone was said, without the silences.

    Args:
        alignment: a line of `asr align --format json`, of a model that writes phones.
    """
    words = _words(alignment["tokens"])
    segments: list[Segment] = []
    for word, (start, end) in zip(words, _extents(words), strict=True):
        inner = [(one["end"] + other["start"]) / 2 for one, other in pairwise(word)]
        edges = pairwise([start, *inner, end])
        segments += [Segment(one["text"], *edge) for one, edge in zip(word, edges, strict=True)]
    return segments


def _words(tokens: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    words: list[list[Mapping[str, Any]]] = [[]]
    for token in tokens:
        if token["text"] == WORD_END:
            words.append([])
        else:
            words[-1].append(token)
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
    ids = np.array([phones.index(segment.phone) for segment in segments])
    number = np.searchsorted(starts, times, side="right") - 1
    is_inside = (number >= 0) & (times < ends[number])
    return np.where(is_inside, ids[number], 0)


def read_segments(alignments: Path) -> dict[str, list[Segment]]:
    """Read what `asr align --format json` wrote.

    Returns:
        when the phones of each audio file were said, by its path

    Raises:
        ManifestError: the model did not write phones.
    """
    found = {}
    for line in map(json.loads, read_lines(alignments)):
        if all(token["text"] != WORD_END for token in line["tokens"]):
            raise ManifestError(f"{alignments}: has no phones; align with a model that writes them")
        found[line["audio_filepath"]] = phone_segments(line)
    return found


def phone_names(segments: Mapping[str, Sequence[Segment]]) -> tuple[str, ...]:
    """Return the silence and all phones that occur."""
    return (SILENCE, *sorted({one.phone for each in segments.values() for one in each}))


def read_labels(
    manifest: Path, segments: Mapping[str, Sequence[Segment]], stride: int
) -> list[NDArray[np.int64]]:
    """Read the labels of a manifest's utterances without their audio; see `read_labelled`."""
    phones = phone_names(segments)
    labels = []
    for utterance, some in _with_segments(manifest, segments):
        n_kept = -(-n_frames(round(utterance.duration * 16_000)) // stride)
        labels.append(labels_of_frames(some, n_kept, stride, phones))
    return labels


def _with_segments(
    manifest: Path, segments: Mapping[str, Sequence[Segment]]
) -> list[tuple[Utterance, Sequence[Segment]]]:
    utterances = read_manifest(manifest)
    for utterance in utterances:
        if utterance.audio_filepath.as_posix() not in segments:
            raise ManifestError(f"{utterance.id} was not aligned; align {manifest} again")
    return [(each, segments[each.audio_filepath.as_posix()]) for each in utterances]


def read_labelled(
    manifest: Path,
    segments: Mapping[str, Sequence[Segment]],
    extractor: FeatureExtractor,
    stride: int,
) -> list[LabelledUtterance]:
    """Read the utterances of a manifest with their labels.

    Args:
        manifest: JSON lines.
        segments: see `read_segments`.
        extractor: the front end.
        stride: every how many frames one is kept.

    Raises:
        ManifestError: an utterance was not aligned.
    """
    found = _with_segments(manifest, segments)
    source = FeatureSource([utterance for utterance, _ in found], extractor)
    phones = phone_names(segments)
    labelled = []
    for index, (utterance, some) in enumerate(found):
        features = source.features(index)
        features = ((features - features.mean(0)) / features.std(0).clamp_min(1e-3))[::stride]
        labels = labels_of_frames(some, len(features), stride, phones)
        labelled.append(LabelledUtterance(utterance, features, torch.from_numpy(labels)))
    return labelled
