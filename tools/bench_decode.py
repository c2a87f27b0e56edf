"""Our CTC beam search against flashlight-text and pyctcdecode, at equal scores.

    tools/make_peers.sh                                    # once
    python tools/bench_decode.py [--quick] [--peers .data/peers] [--output .data/bench_decode]
    python tools/bench_decode.py --emissions a --pruning defaults matched --readme README.md

All decode the same emissions with the same lexicon of 120,000 words and the same word 3-gram, in
one thread each, turn by turn, so that other load hits all alike; times are CPU seconds.  One score
judges all: log p_ctc by the forward algorithm + alpha * log p_lm + beta * words.  `build_binary`
(tools/build_lmplz.sh) makes the peers' model load faster where it is installed.

Emissions: a) the package's model of characters on LibriSpeech/dev-100spk below ASR_DATA;
b2, b3) these flattened by temperatures 2 and 3; c) the peaky ones of vectors/.  Pruning: each
decoder's defaults (flashlight's are those of torchaudio's ctc_decoder); the same score and token
thresholds for all; none.  A decoder that needs too long for a set decodes the first of its
utterances (five short ones, then any); what is compared is compared on the same ones.
"""

import argparse
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from decode_material import Material
from decode_report import PEER_BEAM, CommonScorer, Record, Report

from asr.decode.beam import BeamOptions
from asr.errors import AsrError
from asr.readme_table import write_table

ROOT = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("decode_peers.py")
DEFAULTS = BeamOptions()
PEER_BEAMS = (16, 50, PEER_BEAM)
QUICK_PEER_BEAMS = (16, PEER_BEAM)
EMISSIONS = ("a", "b2", "b3", "c")
WIDTHS = (2, 4, 8, 16, 25, 50, 64, 100, 200)
QUICK_WIDTHS = (4, 8, 16, 25, 35, 50, 100)
LARGE_BEAM, N_LARGE = 500, 20
# pyctcdecode's for unknown words, log10 and times alpha; and one that closes the vocabulary.
UNKNOWN_OFFSET, NO_UNKNOWN = -10.0, -1e6
# Part of the time for the first run, which decodes whole sets; the others measure the spread.
FIRST_SHARE, N_LATER = 0.6, 20


@dataclass(frozen=True)
class Limits:
    """What a decoder leaves out."""

    score: float = math.inf
    token: float = -math.inf
    blank: float = 1.0
    history: bool = False
    unknown_offset: float = NO_UNKNOWN


MATCHED = Limits(10.0, -5.0, history=True)
REGIMES: dict[str, dict[str, Limits]] = {
    "defaults": {
        "ours": Limits(
            DEFAULTS.score_threshold, DEFAULTS.token_threshold, DEFAULTS.blank_threshold
        ),
        "flashlight": Limits(50.0),
        "pyctcdecode": Limits(10.0, -5.0, history=True, unknown_offset=UNKNOWN_OFFSET),
    },
    "matched": dict.fromkeys(("ours", "flashlight", "pyctcdecode"), MATCHED),
    "off": dict.fromkeys(("ours", "flashlight", "pyctcdecode"), Limits()),
}


@dataclass(frozen=True)
class Setting:
    """A decoder, how it is set, and its part of the time."""

    emissions: str
    regime: str
    variant: str
    decoder: str
    beam: int
    weight: float

    def request(self, alpha: float, beta: float) -> dict[str, Any]:
        """What decode_peers.py understands."""
        limits = REGIMES[self.regime][self.decoder]
        common = {"set": self.emissions, "repeats": 1}
        if self.emissions == "c" and self.decoder != "pyctcdecode":
            common["repeats"] = 5
        if self.decoder != "ours":
            return {
                **common,
                "beam": self.beam,
                "score_threshold": limits.score,
                "token_threshold": limits.token,
                "history": limits.history,
                "unknown_offset": limits.unknown_offset,
                "log_add": self.variant.endswith("log_add"),
            }
        options = {
            "alpha": alpha,
            "beta": beta,
            "width": self.beam,
            "score_threshold": limits.score,
            "token_threshold": limits.token,
            "blank_threshold": limits.blank,
            "unknown_score": unknown_score(alpha) if "open" in self.variant else None,
        }
        return {**common, "options": options, "times": "text only" not in self.variant}


def unknown_score(alpha: float) -> float:
    """What pyctcdecode by default adds for an unknown word, as a natural logarithm."""
    return alpha * UNKNOWN_OFFSET * math.log(10)


class Worker:
    """A decoder in its own process."""

    def __init__(self, name: str, python: str, setup: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if name == "ours":
            environment["PYTHONPATH"] = str(ROOT)
        self._process = subprocess.Popen(
            [python, str(WORKER), name, str(setup)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, request: dict[str, Any], seconds: float, n_utterances: int) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {**request, "seconds": seconds, "n_utterances": n_utterances}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"bench_decode: {' '.join(map(str, self._process.args))} failed")  # type: ignore[arg-type]
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@dataclass(frozen=True)
class Choice:
    """What is measured."""

    emissions: Sequence[str]
    regimes: Sequence[str]
    quick: bool


def panels(names: list[str], run: int, choice: Choice) -> Iterator[list[Setting]]:
    """The settings of each set of emissions and each regime, decoders by turns."""
    quick = choice.quick
    widths = QUICK_WIDTHS if quick else WIDTHS
    beams: tuple[int, ...] = QUICK_PEER_BEAMS if quick else PEER_BEAMS
    if run:
        beams = (PEER_BEAM,)
    for emissions, regime in itertools.product(choice.emissions, choice.regimes):
        columns: list[tuple[str, str, tuple[int, ...], float]]
        columns = [("ours", "ours", widths, 1.0), ("ours, text only", "ours", widths, 1.0)]
        if regime == "defaults":
            columns.append(("ours, open vocabulary", "ours", widths, 1.0))
        columns.append(("flashlight-text, max", "flashlight", beams, 4.0))
        columns.append(("flashlight-text, log_add", "flashlight", beams, 4.0))
        if not (quick and regime == "off"):  # an utterance takes 10 s
            columns.append(("pyctcdecode", "pyctcdecode", beams, 8.0))
        lines = [
            [
                Setting(emissions, regime, variant, decoder, beam, weight * (1 + (beam >= 100)))
                for beam in sizes
            ]
            for variant, decoder, sizes, weight in columns
            if decoder in names
        ]
        turns = itertools.chain.from_iterable(itertools.zip_longest(*lines))
        yield [setting for setting in turns if setting is not None]


class Bench:
    """Runs the workers."""

    def __init__(self, material: Material, pythons: dict[str, str], choice: Choice) -> None:
        self._material, self._pythons, self._choice = material, pythons, choice
        self._workers = {name: self._worker(name) for name in pythons}
        self.records: list[Record] = []
        self.loading: dict[str, dict[str, list[float]]] = {}

    def _worker(self, name: str) -> Worker:
        return Worker(name, self._pythons[name], self._material.setup)

    def _ask(
        self, worker: Worker, setting: Setting, seconds: float, n_utterances: int
    ) -> dict[str, Any]:
        request = setting.request(self._material.alpha, self._material.beta)
        return worker.ask(request, seconds, n_utterances)

    def warm_up(self) -> None:
        """Let all have decoded something: code is compiled, and files are in memory."""
        for name, worker in self._workers.items():
            self._ask(worker, Setting("a", "defaults", name, name, 100, 1.0), 1, 1)

    def load(self, n_runs: int) -> None:
        """Measure the start up to the first text, and memory after some, in fresh processes."""
        for _, name in itertools.product(range(n_runs), self._workers):
            setting = Setting("a", "defaults", name, name, 100, 1.0)
            worker = self._worker(name)
            first = self._ask(worker, setting, 1, 1)
            last = self._ask(worker, setting, 3, 20)
            worker.close()
            kept = self.loading.setdefault(name, {"load_seconds": [], "memory_mb": []})
            kept["load_seconds"].append(first["cpu_seconds"])
            kept["memory_mb"].append(last["memory_mb"])

    def measure(self, run: int, deadline: float, n_utterances: int) -> None:
        """Go through all settings once; the time left is shared out at each panel."""
        todo = list(panels(list(self._workers), run, self._choice))
        left = sum(setting.weight for panel in todo for setting in panel)
        for panel in todo:
            unit = max(deadline - time.monotonic(), 0) / left
            for setting in panel:
                # Ours goes through all, so that there is something to compare with.
                seconds = math.inf if setting.decoder == "ours" else unit * setting.weight
                self._add(setting, run, seconds, n_utterances)
                left -= setting.weight
            last = panel[-1]
            print(f"run {run}: {last.emissions}, {last.regime} done", file=sys.stderr)

    def measure_large(self, seconds: float) -> None:
        """Beam 500 on some utterances."""
        for name, variant in (
            ("ours", "ours"),
            ("flashlight", "flashlight-text, max"),
            ("flashlight", "flashlight-text, log_add"),
            ("pyctcdecode", "pyctcdecode"),
        ):
            if name in self._workers:
                setting = Setting("a", "defaults", variant, name, LARGE_BEAM, 1.0)
                self._add(setting, 0, seconds, N_LARGE)

    def _add(self, setting: Setting, run: int, seconds: float, n_utterances: int) -> None:
        answer = self._ask(self._workers[setting.decoder], setting, seconds, n_utterances)
        names = setting.emissions, setting.regime, setting.variant, setting.decoder
        self.records.append(Record(*names, setting.beam, run, answer["texts"], answer["seconds"]))

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.close()


def describe_loading(loading: dict[str, dict[str, list[float]]]) -> str:
    """The table of load times and memory."""
    lines = ["| decoder | CPU s from start to first text | peak memory, MB |", "|---|---|---|"]
    for name, values in loading.items():
        seconds, memory = values["load_seconds"], values["memory_mb"]
        lines.append(
            f"| {name} | {sorted(seconds)[len(seconds) // 2]:.2f} ({min(seconds):.2f} to "
            f"{max(seconds):.2f}) | {max(memory):.0f} |"
        )
    return "\n".join(lines)


def describe_run(n_runs: int, n_utterances: int) -> str:
    """What the times depend on."""
    return (
        f"CPU times of one thread, {processor_name()}, {os.cpu_count()} cores, load average "
        f"{os.getloadavg()[0]:.0f}; {n_runs} runs, {n_utterances} utterances at most."
    )


def processor_name() -> str:
    """The model of the CPU, and the family of models where only Linux's number tells them apart."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor()
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    name = fields.get("model name", platform.machine())
    return f"{name}, model {fields.get('model', '?')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="10 utterances, one run")
    parser.add_argument("--minutes", type=float, help="of decoding (default: 26, quick: 1.3)")
    parser.add_argument("--runs", type=int, help="default: 3, quick: 1")
    parser.add_argument("--utterances", type=int, help="default: 100, quick: 10")
    parser.add_argument(
        "--emissions", nargs="+", choices=EMISSIONS, default=EMISSIONS, metavar="SET"
    )
    parser.add_argument("--pruning", nargs="+", choices=REGIMES, default=list(REGIMES))
    parser.add_argument("--no-loading", action="store_true", help="leave load times out")
    parser.add_argument("--readme", type=Path, help="write the comparison between its marks")
    parser.add_argument("--table", default="bench_decode", help="the name in those marks")
    parser.add_argument("--large", action="store_true", help="beam 500, too, also with --readme")
    parser.add_argument("--peers", type=Path, default=ROOT / ".data/peers")
    parser.add_argument("--output", type=Path, default=ROOT / ".data/bench_decode")
    parser.add_argument("--alpha", type=float, default=DEFAULTS.alpha)
    parser.add_argument("--beta", type=float, default=DEFAULTS.beta)
    parser.add_argument("--draw", type=Path, help="PNG (default: curves.png in the output folder)")
    arguments = parser.parse_args()
    data = os.environ.get("ASR_DATA")
    if not data:
        parser.error("ASR_DATA does not name the folder with the real data")
    torch.set_num_threads(1)
    quick, output = arguments.quick, arguments.output
    n_runs = arguments.runs or (1 if quick else 3)
    seconds = 60 * (arguments.minutes or (1.3 if quick else 26))
    try:
        material = Material(output, Path(data), arguments.alpha, arguments.beta)
    except AsrError as error:
        parser.error(str(error))
    pythons = {"ours": sys.executable}
    for name in ("flashlight", "pyctcdecode"):
        python = arguments.peers / name / "bin/python"
        if python.exists():
            pythons[name] = str(python)
        else:
            print(f"bench_decode: no {python}; see tools/make_peers.sh", file=sys.stderr)
    start = time.monotonic()
    bench = Bench(material, pythons, Choice(arguments.emissions, arguments.pruning, quick))
    bench.warm_up()
    bench.load(0 if arguments.no_loading else n_runs)
    n_utterances = arguments.utterances or (10 if quick else 100)
    decoding = time.monotonic()
    for run in range(n_runs):
        share = 1.0 if n_runs == 1 else FIRST_SHARE + (1 - FIRST_SHARE) * run / (n_runs - 1)
        n_asked = min(N_LATER, n_utterances) if run else n_utterances
        bench.measure(run, decoding + 0.9 * share * seconds, n_asked)
    if arguments.large or not arguments.readme:
        bench.measure_large((0.1 if arguments.large else 0.025) * seconds)
    bench.close()
    scorer = CommonScorer(
        material.tokenizer,
        material.table,
        alpha=material.alpha,
        beta=material.beta,
        unknown_score=unknown_score(material.alpha),
    )
    report = Report(material.sets, bench.records, scorer)
    results = {
        "alpha": material.alpha,
        "beta": material.beta,
        "loading": bench.loading,
        **report.to_dict(),
        "records": [asdict(record) for record in bench.records],
    }
    (output / "results.json").write_text(json.dumps(results), encoding="utf-8")
    report.draw(arguments.draw or output / "curves.png")
    print(
        f"{time.monotonic() - start:.0f} s, alpha {material.alpha}, beta {material.beta}, CPU times"
    )
    print(f"load average {os.getloadavg()[0]:.1f}, {n_runs} runs\n")
    print(describe_loading(bench.loading), report.markdown(), sep="\n\n")
    if arguments.readme:
        parts = [report.summary()]
        if arguments.large:
            parts.append(report.large(LARGE_BEAM))
        if bench.loading:
            parts.append(describe_loading(bench.loading))
        parts.append(describe_run(n_runs, n_utterances))
        name = arguments.table
        marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
        write_table(arguments.readme, "\n\n".join(parts), marks)


if __name__ == "__main__":
    main()
