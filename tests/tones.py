"""A made-up language in which every letter is a tone, for tests that train."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.audio import SAMPLE_RATE, save_wav
from asr.manifest import Utterance, write_manifest

LETTERS = "ABCDEF"


def speak(text: str, random: np.random.Generator) -> NDArray[np.float32]:
    """Return a tone of its own for each letter and silence for a space, with some noise."""
    parts = []
    for letter in f" {text} ":
        n = int(random.uniform(0.09, 0.15) * SAMPLE_RATE)
        time = np.arange(n) / SAMPLE_RATE
        hertz = 300 * 1.5 ** LETTERS.index(letter) if letter in LETTERS else 0
        tone = np.sin(2 * np.pi * hertz * time) * np.hanning(n)
        parts.append(0.3 * tone + 0.003 * random.standard_normal(n))
    return np.concatenate(parts).astype(np.float32)


def make_corpus(folder: Path, name: str, n: int, seed: int) -> Path:
    """Write `n` utterances of one to three words; returns the manifest."""
    random = np.random.default_rng(seed)
    utterances = []
    for number in range(n):
        words = [
            "".join(random.choice(list(LETTERS), random.integers(1, 4)))
            for _ in range(random.integers(1, 4))
        ]
        text = " ".join(words)
        waveform = speak(text, random)
        path = folder / name / f"{number:04}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_wav(path, waveform)
        speaker = f"speaker{number % 5}"
        utterances.append(Utterance(path, len(waveform) / SAMPLE_RATE, text, speaker))
    manifest = folder / f"{name}.jsonl"
    write_manifest(manifest, utterances)
    return manifest
