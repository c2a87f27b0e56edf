"""A test set as a noisy room and a telephone line would have it.

    python recipes/librispeech/degrade.py test-clean.jsonl EXP/degraded \\
        --noise ESC-10/audio --snr 10 --telephone

writes EXP/degraded/test-clean-noise-10dB.jsonl and test-clean-telephone.jsonl with their audio
(FLAC, 16 bits) in folders of the same names.  Each utterance gets a clip of its own, drawn with
--seed and repeated or cut to its length, at the given ratio of speech to noise (both measured
where something sounds).  Clips that the model was trained with have no place here.
"""

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.audio import SAMPLE_RATE, find, load
from asr.augment import add_noise, telephone
from asr.cli import run_program
from asr.errors import ConfigError
from asr.manifest import Utterance, read_manifest, write_manifest

__all__ = ["degrade", "main", "noisy"]

Waveform = NDArray[np.float32]
Degrade = Callable[[Waveform], Waveform]


def noisy(folder: Path, snr_db: float, seed: int) -> Degrade:
    """Return what adds a clip of a folder, drawn at random with where it begins.

    Raises:
        AudioError: the folder has no audio.
    """
    clips = find(folder)
    draw = random.Random(seed)

    def add(waveform: Waveform) -> Waveform:
        noise = load(draw.choice(clips))
        return add_noise(waveform, noise, snr_db, draw.randrange(len(noise)))

    return add


def degrade(utterances: Sequence[Utterance], folder: Path, change: Degrade) -> list[Utterance]:
    """Write changed audio into a folder and return its utterances.

    What would be louder than 16 bits can hold is made quieter as a whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for utterance in utterances:
        waveform = load(
            utterance.audio_filepath, offset=utterance.offset, duration=utterance.duration
        )
        waveform = change(waveform)
        waveform = waveform / max(1.0, float(np.abs(waveform).max(initial=0.0)))
        path = folder / f"{utterance.id}.flac"
        soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")
        changed.append(replace(utterance, audio_filepath=path.resolve(), offset=0.0))
    return changed


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("output", type=Path, help="receives manifests and folders of audio")
    parser.add_argument("--noise", metavar="FOLDER", type=Path, help="clips to add")
    parser.add_argument("--snr", metavar="DB", type=float, default=10.0, help="(default: 10)")
    parser.add_argument("--telephone", action="store_true", help="8 kHz, mu-law")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    return run_program("degrade", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    changes: dict[str, Degrade] = {}
    if arguments.noise:
        name = f"noise-{arguments.snr:g}dB"
        changes[name] = noisy(arguments.noise, arguments.snr, arguments.seed)
    if arguments.telephone:
        changes["telephone"] = telephone
    if not changes:
        raise ConfigError("nothing to do: give --noise FOLDER, --telephone or both")
    utterances = read_manifest(arguments.manifest)
    for change_name, change in changes.items():
        name = f"{arguments.manifest.stem}-{change_name}"
        changed = degrade(utterances, arguments.output / name, change)
        write_manifest(arguments.output / f"{name}.jsonl", changed)
        print(f"{arguments.output / name}.jsonl: {len(changed):,} utterances")
    return 0


if __name__ == "__main__":
    sys.exit(main())
