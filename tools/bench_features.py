"""Measure the front end in times real time, beside torchaudio's Kaldi port and librosa.

    python tools/bench_features.py [--minutes 60] [--threads 2] [--audio FOLDER]

All compute 80 log-mel energies of the same audio, in one process, one after the other in
each round, so that other load hits all alike; the best round counts.  Reading audio is
not in the times.  On a busy machine, compare the CPU seconds with --threads 1.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import torch

from asr.audio import SAMPLE_RATE, find, load
from asr.features import FeatureExtractor, Normalizer
from asr.filterbank import LIBROSA
from asr.torchaudio_safe import torchaudio

UTTERANCE_SECONDS = 15
BATCH_SIZE = 16


def read_audio(minutes: float, folder: Path | None) -> torch.Tensor:
    """Return real audio, repeated where it is too short, or noise, (N,)."""
    n_samples = round(minutes * 60 * SAMPLE_RATE)
    if folder is None:
        return 0.1 * torch.randn(n_samples, generator=torch.Generator().manual_seed(0))
    parts: list[np.ndarray] = []
    for path in find(folder):
        parts.append(load(path))
        if sum(map(len, parts)) >= n_samples:
            break
    return torch.from_numpy(np.resize(np.concatenate(parts), n_samples))


def contenders(audio: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return what is measured: name -> the features of all the audio."""
    size = UTTERANCE_SECONDS * SAMPLE_RATE
    utterances = audio[: len(audio) // size * size].view(-1, 1, size)
    batches = [b.squeeze(1) for b in utterances.split(BATCH_SIZE)]
    ours, like_librosa, sliding = (
        FeatureExtractor(),
        FeatureExtractor(filterbank=LIBROSA),
        Normalizer(80),
    )

    def lengths(waveforms: torch.Tensor) -> torch.Tensor:
        return torch.full((len(waveforms),), waveforms.shape[1])

    def by_librosa(waveform: torch.Tensor) -> np.ndarray:
        energies = librosa.feature.melspectrogram(
            y=waveform[0].numpy(),
            sr=SAMPLE_RATE,
            n_fft=400,
            hop_length=160,
            center=False,
            n_mels=80,
        )
        return np.log(np.maximum(energies, 1e-10))

    kaldi = torchaudio.compliance.kaldi.fbank
    return {
        "asr, utterances": lambda: [ours(u, lengths(u)) for u in utterances],
        f"asr, batches of {BATCH_SIZE}": lambda: [ours(b, lengths(b)) for b in batches],
        "asr, one recording": lambda: ours(audio[None], lengths(audio[None])),
        "asr, utterances, LIBROSA": lambda: [like_librosa(u, lengths(u)) for u in utterances],
        "asr, utterances, normalized": lambda: [sliding(*ours(u, lengths(u))) for u in utterances],
        "torchaudio.compliance.kaldi.fbank": lambda: [
            kaldi(u * 32_768, num_mel_bins=80) for u in utterances
        ],
        "librosa.feature.melspectrogram": lambda: [by_librosa(u) for u in utterances],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the audio")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--audio", type=Path, help="folder of recordings; without it, noise")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    audio = read_audio(arguments.minutes, arguments.audio)
    seconds = len(audio) / SAMPLE_RATE
    measured = contenders(audio)
    best = dict.fromkeys(measured, (float("inf"), float("inf")))  # seconds: wall clock, CPU
    with torch.inference_mode():
        for _ in range(arguments.rounds):
            for name, compute in measured.items():
                start, cpu_start = time.perf_counter(), time.process_time()
                compute()
                taken = time.perf_counter() - start, time.process_time() - cpu_start
                best[name] = min(best[name][0], taken[0]), min(best[name][1], taken[1])
    print(
        f"{seconds / 60:.1f} minutes in utterances of {UTTERANCE_SECONDS} s, "
        f"{arguments.threads} threads, torch {torch.__version__}, best of {arguments.rounds}"
    )
    for name, (wall, cpu) in best.items():
        print(f"{name:36s}{wall:8.2f} s {seconds / wall:8.0f} x real time {cpu:8.2f} CPU s")


if __name__ == "__main__":
    main()
