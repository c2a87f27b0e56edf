"""New utterances from phrases of the training utterances, each of one speaker.

    asr align train.jsonl --format ctm > train.ctm
    python recipes/librispeech/splice.py train.jsonl train.ctm EXP/spliced --hours 7

writes EXP/spliced.jsonl and its audio (FLAC, 16 kHz) in EXP/spliced.  An utterance is cut where its
speaker pauses; phrases of different utterances follow each other at random until there are 5 to 15
seconds.  A network that has heard each utterance fifty times knows its words by heart; which of
these phrases follows which it cannot know.

Reference: Lam, Ohta, Schlueter and Ney, "On-the-fly aligned data augmentation for
sequence-to-sequence ASR", Interspeech 2021 (there single words are exchanged).
"""

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from cut import Times, read_times, timed_words
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from asr.audio import SAMPLE_RATE, load
from asr.cli import run_program
from asr.errors import ConfigError, ManifestError
from asr.manifest import Utterance, read_manifest, write_manifest

__all__ = ["Phrase", "find_phrases", "main", "splice"]

SECONDS = (5.0, 15.0)
"""Of a new utterance, its last phrase left out."""

_LONGEST = 18.0
_PAUSE = 0.2  # seconds from the end of a word to the next, at least
_QUIETER = 25.0  # dB that a pause lies below the utterance's loud frames
_PHRASE = (0.5, 9.0)  # seconds
_FADE = SAMPLE_RATE // 100
_FRAME, _HOP = SAMPLE_RATE // 50, SAMPLE_RATE // 200
_LEAST_PHRASES = 8  # of a speaker

_Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Phrase:
    """What is said from one pause to the next.

    Attributes:
        waveform: (N,) at 16 kHz.
        text: Two words or more.
        source: Id of its utterance.
    """

    waveform: _Samples
    text: str
    source: str


def find_phrases(utterance: Utterance, waveform: _Samples, times: Times) -> list[Phrase]:
    """Cut an utterance at the quietest moments of its pauses.

    Args:
        utterance: With text.
        waveform: (N,) at 16 kHz.
        times: Where its words begin and end, in seconds.

    Raises:
        ManifestError: There are more or fewer times than words.
    """
    words = timed_words(utterance, times)
    if len(waveform) < 2 * _FRAME:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(waveform, _FRAME)[::_HOP]
    levels = 10 * np.log10(np.square(windows).mean(-1) + 1e-9)
    floor = np.percentile(levels, 85) - _QUIETER
    cuts = [(0, 0)]
    for number, (before, after) in enumerate(pairwise(times), start=1):
        first, last = (round(t * SAMPLE_RATE / _HOP) for t in (before[1], after[0]))
        pause = levels[first:last]
        if after[0] - before[1] >= _PAUSE and len(pause) and pause.min() < floor:
            middle = (first + int(pause.argmin())) * _HOP + _FRAME // 2
            cuts.append((number, middle))
    cuts.append((len(words), len(waveform)))
    phrases = []
    for (first, start), (last, end) in pairwise(cuts):
        if last - first >= 2 and _PHRASE[0] < (end - start) / SAMPLE_RATE < _PHRASE[1]:
            text = " ".join(words[first:last])
            phrases.append(Phrase(waveform[start:end], text, utterance.id))
    return phrases


def splice(phrases: Sequence[Phrase], draw: random.Random) -> tuple[_Samples, str]:
    """Join phrases of a speaker, no two of one utterance behind each other.

    Args:
        phrases: Of two utterances or more.
        draw: Decides which, and how many.

    Returns:
        (N,) at 16 kHz, and the text.
    """
    wanted = draw.uniform(*SECONDS) * SAMPLE_RATE
    chosen: list[Phrase] = []
    while sum(len(phrase.waveform) for phrase in chosen) < wanted:
        phrase = draw.choice(phrases)
        if not chosen or phrase.source != chosen[-1].source:
            chosen.append(phrase)
    fade = np.linspace(0, 1, _FADE, dtype=np.float32)
    parts = [phrase.waveform.copy() for phrase in chosen]
    for part in parts:
        part[:_FADE] *= fade
        part[-_FADE:] *= fade[::-1]
    return np.concatenate(parts), " ".join(phrase.text for phrase in chosen)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("ctm", type=Path, help="times of its words")
    parser.add_argument("output", type=Path, help="folder of the audio; OUTPUT.jsonl lists it")
    parser.add_argument("--hours", type=float, default=7.0, help="about so many (default: 7)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    return run_program("splice", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.hours > 0:
        raise ConfigError(f"--hours {arguments.hours:g}: more than 0 is needed")
    utterances = read_manifest(arguments.manifest)
    times = read_times(arguments.ctm)
    folder: Path = arguments.output
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("utterances cut", total=len(utterances))
        found: dict[str, list[Phrase]] = defaultdict(list)
        for utterance in utterances:
            progress.advance(task)
            if utterance.id not in times or not utterance.speaker:
                continue
            waveform = load(
                utterance.audio_filepath, offset=utterance.offset, duration=utterance.duration
            )
            found[utterance.speaker] += find_phrases(utterance, waveform, times[utterance.id])
        speakers = [
            speaker
            for speaker, phrases in found.items()
            if len(phrases) >= _LEAST_PHRASES and len({phrase.source for phrase in phrases}) > 1
        ]
        if not speakers:
            raise ManifestError(
                f"{arguments.manifest}: no speaker with {_LEAST_PHRASES} phrases between pauses; "
                f"utterances with speakers, and their times in {arguments.ctm}, are needed"
            )
        spoken = {name: sum(len(each.waveform) for each in found[name]) for name in speakers}
        folder.mkdir(parents=True, exist_ok=True)
        draw = random.Random(arguments.seed)
        wanted = arguments.hours * 3600
        task = progress.add_task("seconds of speech", total=wanted)
        made: list[Utterance] = []
        seconds = 0.0
        while seconds < wanted:
            (speaker,) = draw.choices(speakers, list(spoken.values()))
            waveform, text = splice(found[speaker], draw)
            duration = len(waveform) / SAMPLE_RATE
            if duration > _LONGEST:
                continue
            path = folder / f"{len(made):06d}.flac"
            soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")
            made.append(Utterance(path.resolve(), duration, text, speaker))
            seconds += duration
            progress.update(task, completed=seconds)
    manifest = folder.with_name(f"{folder.name}.jsonl")
    write_manifest(manifest, made)
    print(
        f"{manifest}: {len(made):,} utterances, {seconds / 3600:.2f} h, of {len(speakers)} speakers"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
