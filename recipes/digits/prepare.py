"""Manifests of the Free Spoken Digit Dataset, and strings of digits joined from it.

    python recipes/digits/prepare.py DATA OUTPUT

writes to OUTPUT, each as NAME-train.jsonl, NAME-dev.jsonl and NAME-test.jsonl:

    official          the test split of the data set's authors, recordings 0 to 4 of each digit
                      and speaker; the speakers are the same in all parts
    without-SPEAKER   all recordings of one speaker are the test, the others train
    connected         3 to 7 recordings of one speaker joined with short silences; for training
                      there are the single recordings beside them

Recordings 0 to 4 are in no training or dev part, recordings 5 to 8 are dev: what is tuned is
tuned on those.  Joined strings draw from the recordings of their own part only.
"""

import argparse
import functools
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr.audio import find, inspect
from asr.errors import AsrError, ManifestError
from asr.manifest import Utterance, write_manifest

__all__ = ["Recording", "main", "read_recordings"]

WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
PARTS = ("train", "dev", "test")
N_STRINGS = (500, 120, 300)
N_DIGITS = (3, 7)
SILENCE_SECONDS = (0.05, 0.4)


@dataclass(frozen=True)
class Recording:
    """One recording of one digit.

    Args:
        path: DIGIT_SPEAKER_INDEX and the suffix of an audio format.
        digit: 0 to 9.
        speaker: a first name.
        index: number among the recordings of this digit and speaker.
        duration: in seconds.
    """

    path: Path
    digit: int
    speaker: str
    index: int
    duration: float

    @property
    def part(self) -> str:
        """ "test", "dev" or "train" in the official split."""
        return "test" if self.index < 5 else "dev" if self.index < 9 else "train"

    def utterance(self) -> Utterance:
        """The recording as a line of a manifest."""
        return Utterance(self.path, self.duration, WORDS[self.digit], self.speaker)


def read_recordings(folder: Path, n_speakers: int | None = None) -> list[Recording]:
    """Find the recordings in a folder or below it.

    Args:
        folder: where they are.
        n_speakers: only those of the first so many speakers by name; None: all.

    Raises:
        ManifestError: a file with another kind of name, or a part without recordings.
    """
    named = []
    for path in find(folder):
        digit, _, rest = path.stem.partition("_")
        speaker, _, index = rest.rpartition("_")
        if not (digit in tuple("0123456789") and speaker and index.isdecimal()):
            raise ManifestError(
                f"{path}: is not named DIGIT_SPEAKER_INDEX; the recordings of the Free Spoken "
                "Digit Dataset are needed, alone in their folder"
            )
        named.append((path, int(digit), speaker, int(index)))
    speakers = sorted({speaker for _, _, speaker, _ in named})[:n_speakers]
    recordings = [Recording(*one, inspect(one[0]).duration) for one in named if one[2] in speakers]
    for part in PARTS:
        if not any(recording.part == part for recording in recordings):
            raise ManifestError(f"{folder}: holds no recording for the {part} part")
    return recordings


def without_speaker(recordings: Sequence[Recording], speaker: str) -> dict[str, list[Utterance]]:
    """Return the parts of the split that leaves one speaker out."""
    parts: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for recording in recordings:
        if recording.speaker == speaker:
            parts["test"].append(recording.utterance())
        elif recording.part != "test":
            parts[recording.part].append(recording.utterance())
    return parts


def connect(
    recordings: Sequence[Recording], n_strings: int, folder: Path, generator: np.random.Generator
) -> list[Utterance]:
    """Join recordings to strings of digits and write them as FLAC.

    Args:
        recordings: what to draw from; each speaker has equally many strings.
        n_strings: how many to make.
        folder: receives SPEAKER-NUMBER.flac.
        generator: decides digits, recordings and silences.
    """
    by_speaker: dict[str, dict[int, list[Recording]]] = defaultdict(lambda: defaultdict(list))
    for recording in recordings:
        by_speaker[recording.speaker][recording.digit].append(recording)
    folder.mkdir(parents=True, exist_ok=True)
    speakers = sorted(by_speaker)
    utterances = []
    for number in range(n_strings):
        speaker = speakers[number % len(speakers)]
        choices = by_speaker[speaker]
        n_digits = generator.integers(N_DIGITS[0], N_DIGITS[1], endpoint=True)
        digits = generator.choice(sorted(choices), size=n_digits).tolist()
        chosen = [choices[digit][generator.integers(len(choices[digit]))] for digit in digits]
        path = folder / f"{speaker}-{number:04d}.flac"
        text = " ".join(WORDS[digit] for digit in digits)
        utterances.append(Utterance(path, _join(chosen, path, generator), text, speaker))
    return utterances


def _join(recordings: Sequence[Recording], path: Path, generator: np.random.Generator) -> float:
    """Write recordings with silences before, between and after them; return the seconds."""
    clips, rates = [], []
    for recording in recordings:
        samples, rate = _read(recording.path)
        clips.append(samples)
        rates.append(rate)
    rate = rates[0]
    if set(rates) != {rate}:
        raise ManifestError(
            f"{recordings[0].path.parent}: recordings of one speaker have several sample rates "
            f"({', '.join(map(str, sorted(set(rates))))} Hz); they cannot be joined as they are"
        )
    # Pauses are as loud as the quietest moment: digital silence would give the ends away.
    level = min(_quietest(clip, rate // 100) for clip in clips)
    pieces = []
    for clip in [*clips, np.zeros(0)]:
        pause = generator.uniform(*SILENCE_SECONDS)
        pieces += [level * generator.standard_normal(round(pause * rate)), clip]
    joined = np.concatenate(pieces)
    soundfile.write(path, joined, rate, subtype="PCM_16")
    return round(len(joined) / rate, 6)


@functools.cache
def _read(path: Path) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(path)
    return samples, int(rate)


def _quietest(clip: np.ndarray, n_samples: int) -> float:
    """Root mean square of the quietest stretch of `n_samples`."""
    stretches = clip[: len(clip) // n_samples * n_samples].reshape(-1, n_samples)
    return float(np.sqrt(np.square(stretches).mean(axis=1)).min(initial=1.0))


def _write(output: Path, name: str, parts: dict[str, list[Utterance]]) -> None:
    for part, utterances in parts.items():
        write_manifest(output / f"{name}-{part}.jsonl", utterances)
    counts = ", ".join(f"{len(utterances):,} {part}" for part, utterances in parts.items())
    print(f"{name}: {counts}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Manifests of the Free Spoken Digit Dataset.")
    parser.add_argument("data", type=Path, help="folder with DIGIT_SPEAKER_INDEX.flac or .wav")
    parser.add_argument("output", type=Path, help="receives the manifests and joined recordings")
    parser.add_argument("--speakers", type=int, help="only so many, by name (default: all)")
    parser.add_argument(
        "--strings", type=int, nargs=3, default=N_STRINGS, metavar="N",
        help="joined for train, dev and test (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the joined recordings")
    arguments = parser.parse_args(argv)
    output: Path = arguments.output
    try:
        recordings = read_recordings(arguments.data, arguments.speakers)
        parts = {
            part: [recording for recording in recordings if recording.part == part]
            for part in PARTS
        }
        official = {part: [r.utterance() for r in found] for part, found in parts.items()}
        _write(output, "official", official)
        for speaker in sorted({recording.speaker for recording in recordings}):
            _write(output, f"without-{speaker}", without_speaker(recordings, speaker))
        generator = np.random.default_rng(arguments.seed)
        connected = {
            part: connect(parts[part], n_strings, output / "connected" / part, generator)
            for part, n_strings in zip(PARTS, arguments.strings, strict=True)
        }
        # Strings alone leave CTC guessing for long what belongs where.
        connected["train"] = official["train"] + connected["train"]
        _write(output, "connected", connected)
        (output / "words.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    except AsrError as error:
        print(f"prepare: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
