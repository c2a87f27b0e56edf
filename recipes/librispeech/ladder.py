"""Which ideas help: a baseline and steps from it, each trained alike and measured on dev sets.

    python recipes/librispeech/ladder.py recipes/librispeech/conf/ladder.toml EXP \\
        --train train.jsonl ... --dev dev-clean.jsonl ... [--jobs 8 --minutes 9]
    python recipes/librispeech/ladder.py --table EXP --readme recipes/librispeech/README.md

The TOML file names the configuration of the baseline and the steps; a step changes values of the
one it is `on`, also the model whose weights its training begins with (`init_from`), or names a
model that is there already; and says how often that hears a recording (`views`).  EXP/NAME
receives its training, EXP/decode/NAME what it recognises of each dev set, EXP/ladder.json the
figures after every step.  That is greedily, or with --lm by a beam search with an n-gram model,
whose weights are tuned for each step on the same dev sets: EXP/NAME/decoding.toml.  The same
command goes on after an interruption, and steps can be added.

On one large GPU let several run at a time (--jobs; `data.cache = "device"` keeps the features in
its memory).  With --minutes, trainings are interrupted then and measured as far as they are: set
`training.epochs` so that the learning rate has fallen by that time.
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import Field
from score import compare_decoders, error_rates

from asr.cli import run_program
from asr.errors import AsrError, ConfigError
from asr.readme_table import write_table
from asr.recipe_programs import describe_machine
from asr.toml_config import Section, load_toml
from asr.views import MOST_VIEWS

__all__ = ["Ladder", "Step", "main", "table", "training_options"]


class Step(Section):
    """A training, or a model that is there."""

    name: str = Field(min_length=1, pattern=r"^[\w.+-]+$")
    on: str = Field(default="", description="the step it changes and is compared with")
    set: list[str] = Field(default=[], description="values changed, as in `asr train --set`")
    init_from: str = Field(default="", description="begins with this model's weights")
    model: str = Field(default="", description="a model to measure instead of a training")
    views: int = Field(default=1, ge=1, le=MOST_VIEWS, description="times it hears a recording")
    about: str = Field(default="", description="the idea, in a few words")


class Ladder(Section):
    """All of them."""

    base: str = Field(default="", description="configuration of the baseline, beside this file")
    steps: list[Step] = Field(min_length=1)


def training_options(step: Step, steps: Sequence[Step]) -> list[str]:
    """Return the options of `asr train` for a step, those of the steps that it is on first.

    Raises:
        ConfigError: a step is on one that does not come before it.
    """
    before = {each.name: each for each in steps[: steps.index(step)]}
    if step.on and step.on not in before:
        raise ConfigError(f"step {step.name}: it is on {step.on!r}, which does not come before it")
    options = training_options(before[step.on], steps) if step.on else []
    if step.init_from:
        options += ["--init-from", step.init_from]
    return [*options, *chain.from_iterable(("--set", value) for value in step.set)]


class Runner:
    """Trains and measures steps.

    Args:
        arguments: of the command line.
        ladder: what is to be done.
    """

    def __init__(self, arguments: argparse.Namespace, ladder: Ladder) -> None:
        self.arguments = arguments
        self.ladder = ladder
        self.base = arguments.config.parent / ladder.base
        self.exp: Path = arguments.exp
        self.deadline = time.monotonic() + 60 * (arguments.minutes or 1e6)
        self.running: set[subprocess.Popen[bytes]] = set()
        self.lock = threading.Lock()

    def measure(self, step: Step) -> dict[str, Any]:
        """Train a step as far as the time goes, and measure it."""
        path = self.exp / step.name / "step.json"
        lm = self.arguments.lm and self.arguments.lm.name
        if path.exists():
            found = dict(json.loads(path.read_text(encoding="utf-8")))
            if found.get("lm") == lm:
                return found
        started = time.monotonic()
        model = step.model or str(self.exp / step.name)
        if not step.model:
            self._train(step)
            if not Path(model, "best").is_dir():
                raise ConfigError(f"{model}: no evaluation before the time was over")
        seconds = time.monotonic() - started
        self._decode(step, model)
        found = _model_facts(model) | {
            "name": step.name,
            "on": step.on,
            "about": step.about,
            "set": step.set,
            "lm": lm,
            "seconds": None if step.model else seconds,
            "sets": {
                each.stem: error_rates(self.exp / "decode" / step.name / each.name)
                for each in self.arguments.dev
            },
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return found

    def _decode(self, step: Step, model: str) -> None:
        """Leave what a model recognises of the dev sets in EXP/decode/NAME."""
        log = self.exp / f"{step.name}.log"
        decoded = self.exp / "decode" / step.name
        decoded.mkdir(parents=True, exist_ok=True)
        search: list[object] = ["--greedy"]
        heard = [*self.arguments.dev, "--model", model, "--views", step.views]
        if self.arguments.lm:
            tuned = self.exp / step.name
            self._asr(log, "tune", *heard, "--lm", self.arguments.lm, "--output", tuned)
            search = ["--decoding", tuned / "decoding.toml"]
        self._asr(log, "evaluate", *heard, *search, "--worst", "0", "--output", decoded)

    def _train(self, step: Step) -> None:
        lists = {"data.train": self.arguments.train, "data.dev": self.arguments.dev}
        values = [
            f"{name}={json.dumps([str(path.resolve()) for path in paths])}"
            for name, paths in lists.items()
            if paths
        ]
        options = [*chain.from_iterable(("--set", value) for value in values)]
        options += training_options(step, self.ladder.steps)
        log = self.exp / f"{step.name}.log"
        self._asr(log, "train", self.base, "--exp", self.exp / step.name, *options)

    def _asr(self, log: Path, command: str, *options: object) -> None:
        """Run a command of asr; a training is interrupted when the time is over."""
        words = [sys.executable, "-m", "asr", command, *map(str, options)]
        with log.open("ab") as file:
            process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT)
        with self._tracked(process):
            left = self.deadline - time.monotonic() if command == "train" else None
            try:
                code = process.wait(left if left is None else max(left, 0.0))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                process.wait()
                return
        if code:
            raise ConfigError(f"asr {command} ended with exit code {code}; see {log}")

    @contextmanager
    def _tracked(self, process: "subprocess.Popen[bytes]") -> Iterator[None]:
        with self.lock:
            self.running.add(process)
        try:
            yield
        finally:
            with self.lock:
                self.running.discard(process)

    def interrupt(self) -> None:
        """Let the trainings save their state and end."""
        with self.lock:
            for process in self.running:
                process.send_signal(signal.SIGINT)


def _model_facts(model: str) -> dict[str, Any]:
    from asr.model_folders import find_model
    from asr.models.recognizer import Recognizer

    folder = find_model(model)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    network = Recognizer.load(folder).network
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epoch": metrics["epoch"],
    }


def climb(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all steps and return what ladder.json holds.

    Raises:
        ConfigError: the file of steps is wrong, or nothing could be measured.
    """
    ladder = load_toml(Ladder, arguments.config)
    for step in ladder.steps:
        training_options(step, ladder.steps)
        if not (step.model or ladder.base):
            raise ConfigError(f"step {step.name}: to train it, {arguments.config} needs a base")
    runner = Runner(arguments, ladder)
    arguments.exp.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    result: dict[str, Any] = {}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        waiting = {pool.submit(runner.measure, step): step for step in ladder.steps}
        try:
            for done in as_completed(waiting):
                try:
                    found[waiting[done].name] = done.result()
                except AsrError as error:
                    print(f"ladder: {waiting[done].name}: {error}", file=sys.stderr)
                    continue
                result = _result(arguments, [step.name for step in ladder.steps], found)
                print(_line(found[waiting[done].name]), flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.interrupt()
            raise
    if not found:
        raise ConfigError("no step was measured")
    return result


def _result(
    arguments: argparse.Namespace, order: Sequence[str], found: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return the figures of the steps that are done, and write them."""
    steps = [found[name] for name in order if name in found]
    sets = [path.stem for path in arguments.dev]
    for step in steps:
        if step["on"] in found:
            decoded = arguments.exp / "decode"
            step["against"] = compare_decoders(decoded / step["on"], decoded / step["name"], sets)
    result = {
        "ladder": arguments.config.stem,
        "sets": sets,
        "lm": steps[0].get("lm"),
        "machine": describe_machine(),
        "steps": steps,
    }
    path = arguments.exp / "ladder.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _line(step: dict[str, Any]) -> str:
    rates = ", ".join(f"{name} {figures['wer']:.1%}" for name, figures in step["sets"].items())
    return f"{step['name']}: {rates}"


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    sets, steps = result["sets"], result["steps"]
    lm = result.get("lm")
    decoder = f"With {lm}, tuned for each step" if lm else "Greedy"
    has_minutes = any(step["seconds"] is not None for step in steps)
    heads = ["step", "parameters", "epochs", *(f"{name} WER | CER" for name in sets)]
    heads += ["together"] * (len(sets) > 1) + ["against"] + ["minutes"] * has_minutes
    head = f"| {' | '.join(heads)} |"
    rows = [
        f"{decoder}; 95 % intervals over speakers; on {result['machine']}.",
        "",
        head,
        "|---" * (head.count("|") - 1) + "|",
    ]
    for step in steps:
        cells = [f"{step['name']} ({step['about']})" if step["about"] else step["name"]]
        cells += [f"{step['parameters'] / 1e6:.1f} M", f"{step['epoch']:.1f}"]
        found = [step["sets"][name] for name in sets]
        for figures in found:
            cells += [f"{figures['wer']:.1%}{_interval(figures)}", f"{figures['cer']:.1%}"]
        if len(sets) > 1:
            n_words = sum(figures["n_words"] for figures in found)
            n_errors = sum(figures["wer"] * figures["n_words"] for figures in found)
            cells.append(f"{n_errors / n_words:.1%}")
        against = step.get("against")
        cells.append(
            f"{step['on']}: {100 * against['difference']:+.1f}{_interval(against)}"
            if against
            else ""
        )
        if has_minutes:
            cells.append("" if step["seconds"] is None else f"{step['seconds'] / 60:.0f}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _interval(figures: dict[str, Any]) -> str:
    if not figures["interval"]:
        return ""
    low, high = figures["interval"]
    return f" ({100 * low:.1f} to {100 * high:.1f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", metavar="STEPS.toml", type=Path, nargs="?")
    parser.add_argument("exp", metavar="EXP", type=Path, help="experiment folder")
    for name in ("train", "dev"):
        parser.add_argument(f"--{name}", metavar="MANIFEST", type=Path, nargs="+", default=[])
    parser.add_argument("--lm", metavar="FILE", type=Path, help="n-gram model (default: greedy)")
    parser.add_argument("--jobs", type=int, default=1, help="steps at a time (default: 1)")
    parser.add_argument("--minutes", type=float, help="for all trainings together")
    parser.add_argument("--table", action="store_true", help="print the table of ladder.json again")
    parser.add_argument(
        "--readme", type=Path, help="also write the table there, between the lines <!-- STEPS -->"
    )
    return run_program("ladder", lambda: _run(parser.parse_args(argv)))


def _run(arguments: argparse.Namespace) -> int:
    path: Path = arguments.exp / "ladder.json"
    if arguments.table:
        result = json.loads(path.read_text(encoding="utf-8"))
    elif arguments.config is None or not arguments.dev:
        raise ConfigError("a file of steps, an experiment folder and --dev are needed")
    else:
        result = climb(arguments)
    text = table(result)
    print(text)
    if arguments.readme:
        name = result["ladder"]
        write_table(arguments.readme, text, (f"<!-- {name} -->", f"<!-- end of {name} -->"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
