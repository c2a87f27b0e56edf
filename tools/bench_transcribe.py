"""The recogniser of the package beside pocketsphinx: errors, speed and memory on the same files.

    python -m venv .data/peers/pocketsphinx
    .data/peers/pocketsphinx/bin/pip install pocketsphinx==5.1.1 soundfile numpy
    python tools/bench_transcribe.py [MANIFEST] --peer .data/peers/pocketsphinx/bin/python

Each system runs in a process of its own, one after the other, from files to texts; start-up
(imports, loading, the first file) is reported apart.  --neural names the decoding of the model
that has a neural language model.  Audio has to be 16 kHz and mono.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.cli import run_program
from asr.errors import ConfigError
from asr.manifest import Utterance, read_manifest
from asr.metrics import score
from asr.prepare import from_librispeech
from asr.readme_table import write_table
from asr.recipe_programs import describe_machine

PEERS = Path(__file__).with_name("transcribe_peers.py")
MARKS = ("<!-- bench_transcribe -->", "<!-- end of bench_transcribe -->")
TEST = "LibriSpeech/test-clean-10spk"
NAMES = {
    "greedy": "greedy",
    "beam": "beam search, n-gram",
    "neural": "beam search, n-gram and LSTM",
    "pocketsphinx": "pocketsphinx 5.1.1, its English model",
}


def measure(
    way: str, python: str, request: dict[str, Any], chosen: Sequence[Utterance]
) -> dict[str, Any]:
    """Run a system and return its figures.

    Raises:
        ConfigError: it failed.
    """
    root = str(Path(__file__).parents[1])
    threads = str(request["threads"])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": threads}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(request, file)
        file.flush()
        done = subprocess.run(
            [python, str(PEERS), way, file.name],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError(f"{NAMES[way]} ended with exit code {done.returncode}: {last}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    rates = score(
        [utterance.text for utterance in chosen],
        [text.upper() for text in answer.pop("texts")],
        speakers=[utterance.speaker for utterance in chosen],
    )
    seconds = sum(utterance.duration for utterance in chosen)
    return answer | {
        "wer": rates.wer,
        "interval": rates.interval,
        "cer": rates.cer,
        "times_real_time": seconds / answer["seconds"],
        "times_real_time_cpu": seconds / answer["cpu_seconds"],
    }


def table(found: dict[str, dict[str, Any]], head: str) -> str:
    """Return the figures as Markdown."""
    rows = [
        head,
        "",
        "| | WER | CER | x real time | x real time of CPU | start-up | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, figures in found.items():
        low, high = figures["interval"] or (figures["wer"], figures["wer"])
        rows.append(
            f"| {NAMES[way]} | {figures['wer']:.1%} ({100 * low:.1f} to {100 * high:.1f}) "
            f"| {figures['cer']:.1%} | {figures['times_real_time']:.1f} "
            f"| {figures['times_real_time_cpu']:.1f} | {figures['start_seconds']:.1f} s "
            f"| {figures['megabytes']:.0f} MB |"
        )
    return "\n".join(rows)


def run(arguments: argparse.Namespace) -> int:
    if arguments.manifest:
        name, utterances = arguments.manifest.stem, read_manifest(arguments.manifest)
    elif "ASR_DATA" in os.environ:
        folder = Path(os.environ["ASR_DATA"]) / TEST
        name, utterances = folder.name, from_librispeech(folder)
    else:
        raise ConfigError(f"give a manifest, or set ASR_DATA to a folder that holds {TEST}")
    n = min(arguments.files or len(utterances), len(utterances))
    chosen = [utterances[number * len(utterances) // n] for number in range(n)]
    request = {
        "files": [str(utterance.audio_filepath) for utterance in chosen],
        "threads": arguments.threads,
        "model": arguments.model,
        "neural": arguments.neural,
    }
    ways = dict.fromkeys(("greedy", "beam", "neural"), sys.executable)
    if arguments.neural == "none":
        del ways["neural"]
    if arguments.peer:
        ways["pocketsphinx"] = arguments.peer
    found = {}
    for way, python in ways.items():
        print(f"{NAMES[way]} ...", file=sys.stderr)
        found[way] = measure(way, python, request, chosen)
    minutes = sum(utterance.duration for utterance in chosen) / 60
    head = (
        f"{n} utterances of {name} ({minutes:.1f} minutes), "
        f"{arguments.threads} thread(s) of {describe_machine()}; load average "
        f"{os.getloadavg()[0]:.1f}; pocketsphinx has one thread."
    )
    text = table(found, head)
    print(text)
    if arguments.readme:
        write_table(arguments.readme, text, MARKS)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path, nargs="?", help=f"default: {TEST} below ASR_DATA")
    parser.add_argument("--files", type=int, help="this many, spread evenly (default: all)")
    parser.add_argument("--model", default="default")
    parser.add_argument("--neural", default="lstm", help="a decoding, or none (default: lstm)")
    parser.add_argument("--peer", metavar="PYTHON", help="that has pocketsphinx")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--readme", type=Path, help="also write the table there")
    arguments = parser.parse_args(argv)
    return run_program("bench_transcribe", lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
