"""What is wrong with a manifest, before a training run finds out."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr.audio import AudioInfo, inspect
from asr.errors import AsrError, TextError
from asr.manifest import Utterance
from asr.text import Tokenizer, frames_needed

__all__ = ["Problem", "ProblemKind", "check", "measure"]

ProblemKind = Literal["audio", "duration", "text", "tokenizer", "frames", "duplicate"]

_WINDOW_SECONDS = 0.025


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one utterance.

    Args:
        index: position of the utterance, from 0
        utterance: the utterance
        kind: "audio" unreadable file; "duration" not that of the file; "text" empty;
            "tokenizer" characters or words that it cannot encode; "frames" too short for CTC;
            "duplicate" the same stretch of the same file occurs before
        message: what is wrong, in one line
    """

    index: int
    utterance: Utterance
    kind: ProblemKind
    message: str


def check(
    utterances: Sequence[Utterance],
    *,
    tokenizer: Tokenizer | None = None,
    subsampling_factor: int = 1,
    hop_ms: float = 10.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Problem]:
    """Find the utterances that would break or spoil a training run.

    A duration is wrong when it differs from the file's by more than 5 % or more than 0.1 s;
    where a file is used in stretches (it occurs with an offset), when a stretch ends that much
    behind the end of the file.  CTC
    needs `asr.text.frames_needed` output frames, and the encoder gives
    ceil((1 + (samples - window) // hop) / subsampling_factor) of them.

    Args:
        utterances: e.g. a manifest
        tokenizer: without one, characters and frames are not checked
        subsampling_factor: of the encoder
        hop_ms: from one feature frame to the next
        progress: called with (files measured, files in all) now and then

    Returns:
        The problems in the order of the utterances; an utterance may have several.
    """
    found = measure((utterance.audio_filepath for utterance in utterances), progress)
    in_stretches = {u.audio_filepath for u in utterances if u.offset}
    seen: dict[tuple[Path, float], int] = {}
    problems: list[Problem] = []
    for index, utterance in enumerate(utterances):
        path = utterance.audio_filepath
        key = (path, utterance.offset)
        reasons = _audio_reasons(utterance, found[path], path in in_stretches)
        reasons += _text_reasons(utterance, tokenizer, subsampling_factor, hop_ms)
        if seen.setdefault(key, index) != index:
            reasons.append(("duplicate", f"the same audio as in utterance {seen[key] + 1}"))
        problems.extend(Problem(index, utterance, kind, text) for kind, text in reasons)
    return problems


def measure(
    paths: Iterable[Path], progress: Callable[[int, int], None] | None = None
) -> dict[Path, AudioInfo | AsrError]:
    """Look at the header of every file, in threads; an unreadable file gives its error."""
    wanted = list(dict.fromkeys(paths))
    found: dict[Path, AudioInfo | AsrError] = {}
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 2)) as executor:
        for path, result in zip(wanted, executor.map(_inspect, wanted), strict=True):
            found[path] = result
            if progress and (len(found) % 50 == 0 or len(found) == len(wanted)):
                progress(len(found), len(wanted))
    return found


def _inspect(path: Path) -> AudioInfo | AsrError:
    try:
        return inspect(path)
    except AsrError as error:  # also a missing ffmpeg, which is this file's trouble alone
        return error


def _audio_reasons(
    utterance: Utterance, info: AudioInfo | AsrError, in_stretches: bool
) -> list[tuple[ProblemKind, str]]:
    if isinstance(info, AsrError):
        return [("audio", str(info))]
    end = utterance.offset + utterance.duration
    excess = end - info.duration
    if not in_stretches:
        excess = abs(excess)
    if excess <= min(0.1, 0.05 * utterance.duration):
        return []
    return [("duration", f"ends at {end:.3f} s, but the file at {info.duration:.3f} s")]


def _text_reasons(
    utterance: Utterance, tokenizer: Tokenizer | None, subsampling_factor: int, hop_ms: float
) -> list[tuple[ProblemKind, str]]:
    if not utterance.text.strip():
        return [("text", "the text is empty")]
    if tokenizer is None:
        return []
    try:
        tokens = tokenizer.encode(utterance.text)
    except TextError:
        unknown = ", ".join(repr(part) for part in tokenizer.unknown(utterance.text)[:10])
        return [("tokenizer", f"the tokenizer does not know {unknown}")]
    n_features = 1 + math.floor(1000 * (utterance.duration - _WINDOW_SECONDS) / hop_ms + 1e-6)
    n_frames = -(-max(0, n_features) // subsampling_factor)
    if n_frames < frames_needed(tokens):
        return [
            (
                "frames",
                f"{n_frames} frames at subsampling {subsampling_factor}, but its {len(tokens)} "
                f"tokens need {frames_needed(tokens)}",
            )
        ]
    return []
