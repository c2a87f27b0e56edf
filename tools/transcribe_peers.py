"""A whole recogniser, from files to text, in a process and an environment of its own.

    PYTHON tools/transcribe_peers.py greedy|beam|neural|pocketsphinx REQUEST.json

tools/bench_transcribe.py starts it.  The request names the files, the threads, the model and, for
`neural`, its decoding.toml; the answer on standard output is one line of JSON: the texts, the
seconds from the files to the texts, those of start-up, and the peak memory in megabytes.
pocketsphinx runs with its own Python and its English model; only soundfile is needed beside it.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Transcribe = Callable[[Sequence[str]], list[str]]


def ours(way: str, request: dict[str, Any]) -> Transcribe:
    """asr.transcribe: all files in one call, as `asr transcribe` does."""
    import torch

    from asr.transcribe import load

    torch.set_num_threads(request["threads"])
    decodings = {"greedy": "greedy", "beam": "model", "neural": request["neural"]}
    transcriber = load(request["model"], "cpu", decoding=decodings[way])

    def transcribe(paths: Sequence[str]) -> list[str]:
        return [each.text for each in transcriber.transcribe([Path(path) for path in paths])]

    return transcribe


def pocketsphinx(request: dict[str, Any]) -> Transcribe:
    """pocketsphinx.Decoder as it comes, with its English model; one thread."""
    import soundfile
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16_000, loglevel="FATAL")

    def transcribe(paths: Sequence[str]) -> list[str]:
        texts = []
        for path in paths:
            samples, _ = soundfile.read(path, dtype="int16")
            decoder.start_utt()
            decoder.process_raw(samples.tobytes(), full_utt=True)
            decoder.end_utt()
            hypothesis = decoder.hyp()
            texts.append(hypothesis.hypstr if hypothesis else "")
        return texts

    return transcribe


def main() -> None:
    way, request = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    started = time.perf_counter()
    transcribe = pocketsphinx(request) if way == "pocketsphinx" else ours(way, request)
    transcribe(request["files"][:1])
    ready = time.perf_counter()
    cpu = time.process_time()
    texts = transcribe(request["files"])
    answer = {
        "texts": texts,
        "seconds": time.perf_counter() - ready,
        "cpu_seconds": time.process_time() - cpu,
        "start_seconds": ready - started,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
