"""Synthetic speech for sentences of a text, as further training data.

    python recipes/librispeech/synthesize.py gutenberg-20m.txt.xz EXP/synthetic --hours 4 \\
        --tokenizer EXP/tokenizer

writes EXP/synthetic.jsonl and its audio (FLAC, 16 kHz) in EXP/synthetic, spoken by flite
(Debian, Ubuntu: apt install flite).  By default it speaks with its voices of CMU ARCTIC (rms,
slt, awb; free for any use, as is their output) and kal16, each sentence with one of them at a
pace and a pitch of its own.  A voice is not a speaker's worth of variety: what it brings is
sequences of words that no recording has.  Run again, it goes on where it was interrupted.
"""

import argparse
import hashlib
import math
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
from rich.console import Console
from rich.progress import Progress

from asr.audio import SAMPLE_RATE, load
from asr.cli import run_program
from asr.errors import ConfigError
from asr.manifest import Utterance, write_manifest
from asr.text import Tokenizer, load_tokenizer
from lm.compressed import ByteReader

__all__ = ["Speaker", "draw_sentences", "main", "synthesize"]

# The mean pitch of flite's voices in Hz, as they are.
VOICES = {"rms": 97.0, "slt": 172.0, "awb": 126.0, "kal16": 105.0}
N_WORDS = (10, 30)
_LEAST_SECONDS = 2.5  # of a sentence, on the average; more than are needed are drawn


@dataclass(frozen=True)
class Speaker:
    """How a sentence is spoken.

    Args:
        voice: of flite.
        stretch: of its durations; above 1 is slower.
        pitch: mean fundamental frequency in Hz.
    """

    voice: str
    stretch: float
    pitch: float

    @classmethod
    def draw(cls, voices: Sequence[str], draw: random.Random) -> "Speaker":
        """A voice, a quarter slower to a fifth faster, up to four semitones lower or higher."""
        voice = draw.choice(voices)
        stretch, semitones = draw.uniform(0.8, 1.25), draw.uniform(-4, 4)
        return cls(voice, round(stretch, 3), round(VOICES[voice] * 2 ** (semitones / 12), 1))


def draw_sentences(
    path: Path, n: int, draw: random.Random, tokenizer: Tokenizer | None = None
) -> list[str]:
    """Return n lines of a text of 10 to 30 words, each as likely, in no order (Vitter's R).

    Args:
        path: one sentence a line, plain, gzip or xz.
        tokenizer: lines with a word that it does not know are passed over.

    Raises:
        ConfigError: the text cannot be read, or has fewer such lines.
    """
    chosen: list[str] = []
    for seen, sentence in enumerate(_sentences(path, tokenizer)):
        if len(chosen) < n:
            chosen.append(sentence)
        elif (place := draw.randrange(seen + 1)) < n:
            chosen[place] = sentence
    if len(chosen) < n:
        raise ConfigError(
            f"{path}: {len(chosen):,} sentences of {N_WORDS[0]} to {N_WORDS[1]} known words; "
            f"{n:,} are needed, give more text or fewer --hours"
        )
    draw.shuffle(chosen)
    return chosen


def _sentences(path: Path, tokenizer: Tokenizer | None) -> Iterator[str]:
    known: dict[str, bool] = {}

    def knows(word: str) -> bool:
        if word not in known:
            known[word] = tokenizer is None or not tokenizer.unknown(word)
        return known[word]

    with ByteReader(path, ConfigError) as reader:
        for block in reader.blocks():
            for line in block.decode(errors="replace").splitlines():
                words = line.split()
                if N_WORDS[0] <= len(words) <= N_WORDS[1] and all(map(knows, words)):
                    yield " ".join(words)


def synthesize(text: str, speaker: Speaker, path: Path) -> None:
    """Write a sentence as FLAC of 16 kHz and 16 bits.

    Raises:
        ConfigError: flite is missing or fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        wave = Path(folder) / "speech.wav"
        command = ["flite", "-voice", speaker.voice]
        command += ["--setf", f"duration_stretch={speaker.stretch}"]
        command += ["--setf", f"int_f0_target_mean={speaker.pitch}"]
        done = subprocess.run(
            [*command, "-t", text.lower(), "-o", str(wave)], capture_output=True, text=True
        )
        if done.returncode or not wave.exists():
            raise ConfigError(f"flite failed at {text!r} ({done.stderr.strip() or 'no output'})")
        waveform = load(wave)
    writing = path.with_suffix(".writing")
    soundfile.write(writing, waveform, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
    writing.replace(path)


def _name(sentence: str, speaker: Speaker) -> str:
    """A file's name, which says what is in it: of other options none is taken for theirs."""
    return hashlib.sha1(f"{sentence} {speaker}".encode()).hexdigest()[:16]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", type=Path, help="one sentence a line, plain, gzip or xz")
    parser.add_argument("output", type=Path, help="folder of the audio; OUTPUT.jsonl lists it")
    parser.add_argument("--hours", type=float, default=4.0, help="about so many (default: 4)")
    parser.add_argument(
        "--voices", nargs="+", choices=list(VOICES), default=list(VOICES), help="(default: all)"
    )
    parser.add_argument(
        "--tokenizer", metavar="FOLDER", type=Path, help="take sentences of words it knows"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    return run_program("synthesize", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if not shutil.which("flite"):
        raise ConfigError("flite is not there: apt install flite, or build it (github.com/festvox)")
    draw = random.Random(arguments.seed)
    tokenizer = load_tokenizer(arguments.tokenizer) if arguments.tokenizer else None
    seconds = arguments.hours * 3600
    sentences = draw_sentences(arguments.text, math.ceil(seconds / _LEAST_SECONDS), draw, tokenizer)
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    utterances: list[Utterance] = []
    spoken = 0.0
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("seconds of speech", total=seconds)
        while spoken < seconds:
            sentence = sentences[len(utterances)]
            speaker = Speaker.draw(arguments.voices, draw)
            path = folder / f"{_name(sentence, speaker)}.flac"
            if not path.exists():
                synthesize(sentence, speaker, path)
            duration = soundfile.info(path).duration
            name = f"flite-{speaker.voice}"
            utterances.append(Utterance(path.resolve(), duration, sentence, name))
            spoken += duration
            progress.update(task, completed=spoken)
    manifest = folder.with_name(f"{folder.name}.jsonl")
    write_manifest(manifest, utterances)
    print(f"{manifest}: {len(utterances):,} utterances, {spoken / 3600:.2f} h")
    return 0


if __name__ == "__main__":
    sys.exit(main())
