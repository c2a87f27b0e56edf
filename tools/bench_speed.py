"""How fast recordings become text: real files in one call, from files to text.

Start-up (imports, loading the model, the first recording) is not counted.

    python tools/bench_speed.py [--model MODEL] [--files 100] [--threads 2] [--decoding NAME]
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import torch

from asr.audio import find, inspect
from asr.audio import load as load_audio
from asr.transcribe import load

SET = "LibriSpeech/dev-clean-20spk"


def choose(folder: Path, n: int) -> list[Path]:
    """Take n files that are spread evenly over a folder."""
    paths = find(folder)
    return [paths[number * len(paths) // n] for number in range(n)] if n < len(paths) else paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--folder", help=f"recordings (default: {SET} below ASR_DATA)")
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-seconds", type=float)
    parser.add_argument("--decoding", default="model", help="model, greedy or another of the model")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    paths = choose(Path(arguments.folder or Path(os.environ["ASR_DATA"]) / SET), arguments.files)
    audio_seconds = sum(inspect(path).duration for path in paths)
    transcriber = load(
        arguments.model,
        "cpu",
        batch_seconds=arguments.batch_seconds,
        decoding=arguments.decoding,
    )
    transcriber.transcribe(paths[:2])

    rates, cpu_seconds = [], []
    n_words = 0
    for number in range(arguments.rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        transcripts = transcriber.transcribe(paths)
        rates.append(audio_seconds / (time.perf_counter() - wall))
        cpu_seconds.append(time.process_time() - cpu)
        n_words = sum(len(transcript.words) for transcript in transcripts)
        print(f"round {number + 1}: {rates[-1]:.0f} x real time, {cpu_seconds[-1]:.2f} CPU seconds")
    cpu = time.process_time()
    for path in paths:
        load_audio(path)
    reading = time.process_time() - cpu
    print(
        f"{len(paths)} files, {audio_seconds / 60:.1f} min, {n_words} words, "
        f"{arguments.threads} threads, median of {arguments.rounds} rounds: "
        f"{statistics.median(rates):.0f} x real time ({min(rates):.0f} to {max(rates):.0f}); "
        f"{statistics.median(cpu_seconds):.2f} CPU seconds, of which reading the files "
        f"{reading:.2f}; load average {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
