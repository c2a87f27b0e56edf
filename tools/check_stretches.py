"""Does a model make sense of a recording wherever it begins to listen?

    python tools/check_stretches.py MANIFEST MODEL [MODEL ...]

The utterances of each speaker are joined, and stretches as long as a chunk of a long recording is
with its context (38 s) begin every 9.1 s, mostly in mid-speech.  Of each quarter of a stretch the
likeliest symbols have a mean probability: 0.6 to 0.8 where a model hears what is said.  A quarter
below 0.5 makes the stretch a failure.  A model trained on utterances alone, which begin with
silence, can fail from end to end, and its WER on utterances does not show it.  Exit code 1 where
a model fails on a stretch.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr.audio import SAMPLE_RATE, load
from asr.cli import run_program
from asr.errors import ManifestError
from asr.manifest import read_manifest
from asr.models.recognizer import Recognizer

__all__ = ["Stretch", "main", "stretches"]

SECONDS = 38.0
STEP_SECONDS = 9.1
SURE = 0.5
BATCH = 8


@dataclass(frozen=True)
class Stretch:
    """How sure a model is of a stretch.

    Args:
        start: where it begins, in seconds.
        quarters: mean probability of the likeliest symbols, of each quarter.
    """

    start: float
    quarters: tuple[float, ...]

    @property
    def fails(self) -> bool:
        """Whether one of the quarters makes no sense to the model."""
        return min(self.quarters) < SURE


@torch.inference_mode()
def stretches(recognizer: Recognizer, waveform: Tensor) -> Iterator[Stretch]:
    """Listen to the stretches of a recording, (N,) at 16 kHz; none where it is shorter than one."""
    features, lengths = recognizer.extractor(waveform[None], torch.tensor([len(waveform)]))
    features = recognizer.normalizer(features, lengths)[0]
    hop = recognizer.extractor.hop_seconds
    n_frames = round(SECONDS / hop)
    starts = range(0, len(features) - n_frames, round(STEP_SECONDS / hop))
    for first in range(0, len(starts), BATCH):
        some = starts[first : first + BATCH]
        batch = torch.stack([features[start : start + n_frames] for start in some])
        output = recognizer.network(batch, torch.full((len(some),), n_frames))
        likeliest = output.log_probs.exp().amax(dim=-1)
        quarters = [part.mean(dim=1) for part in likeliest.tensor_split(4, dim=1)]
        for start, values in zip(some, torch.stack(quarters, dim=1).tolist(), strict=True):
            yield Stretch(start * hop, tuple(values))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("manifest", type=Path, help="utterances of one or more speakers")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="'default' or a model folder")
    arguments = parser.parse_args(argv)
    return run_program("check_stretches", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    by_speaker = defaultdict(list)
    for utterance in read_manifest(arguments.manifest):
        waveform = load(
            utterance.audio_filepath, offset=utterance.offset, duration=utterance.duration
        )
        by_speaker[utterance.speaker].append(waveform)
    joined = {
        name: torch.from_numpy(np.concatenate(waveforms))
        for name, waveforms in by_speaker.items()
        if sum(map(len, waveforms)) > SECONDS * SAMPLE_RATE
    }
    if not joined:
        raise ManifestError(f"{arguments.manifest}: no speaker with more than {SECONDS:g} s")
    n_failed = 0
    for model in arguments.models:
        recognizer = Recognizer.load(model).eval()
        heard = [(name, s) for name, wave in joined.items() for s in stretches(recognizer, wave)]
        failures = [(name, stretch) for name, stretch in heard if stretch.fails]
        n_failed += len(failures)
        values = [value for _, stretch in heard for value in stretch.quarters]
        print(
            f"{model}: {len(failures)} of {len(heard)} stretches make no sense to it; probability "
            f"of the likeliest symbols {np.mean(values):.2f}, of a quarter at least "
            f"{min(values):.2f}"
        )
        for name, stretch in failures:
            quarters = " ".join(f"{value:.2f}" for value in stretch.quarters)
            print(f"  speaker {name}, from {stretch.start:.1f} s: {quarters}")
    return int(n_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
