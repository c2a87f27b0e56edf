"""Character models of a text, classic and modern.

    python recipes/text_generation/textgen.py train TEXT CONF EXP [--set A.B=C]
    python recipes/text_generation/textgen.py score TEXT CONF EXP [--readme README.md]
    python recipes/text_generation/textgen.py generate EXP/modern --prompt "the true philosopher "

`train` makes EXP/classic and EXP/modern and goes on after an interruption; `score` measures what is
there on the held-out end and writes EXP/score.json and EXP/bits.png.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import stream
import torch
import windows
from characters import Characters, read_characters, text_of
from textgen_config import TextgenConfig

from asr.checkpoint import read_json, write_json
from asr.errors import AsrError, CheckpointError, ConfigError, TextError
from asr.nn.cells import State
from asr.readme_table import write_table
from asr.recipe_programs import describe_machine, timed, training_seconds
from asr.search import Autoregressive, Sampling, beam_search, sample
from asr.toml_config import load_toml
from asr.training_log import read_metrics
from lm.neural import LstmLM
from lm.neural_model import NeuralLanguageModel
from lm.units import TokenizerUnits

__all__ = ["main"]


def _read(arguments: argparse.Namespace) -> tuple[TextgenConfig, Characters]:
    config = load_toml(TextgenConfig, arguments.conf, arguments.overrides)
    return config, read_characters(arguments.text, config.text)


def train(arguments: argparse.Namespace) -> None:
    """Train both models, or one."""
    config, text = _read(arguments)
    n_kinds = text.tokenizer.n_tokens - 1
    print(
        f"{arguments.text}: {len(text.training):,} characters to train on, "
        f"{len(text.held_out):,} held out, {n_kinds} kinds",
        flush=True,
    )
    if arguments.model in ("classic", "both"):
        with timed(arguments.exp / "classic"):
            windows.train(config.classic, text, arguments.exp / "classic", config.seed)
    if arguments.model in ("modern", "both"):
        with timed(arguments.exp / "modern"):
            stream.train(config, text, arguments.exp / "modern")


def score(arguments: argparse.Namespace) -> None:
    """Measure what was trained, both models or one, on the held-out end.

    Raises:
        ConfigError: neither was trained.
    """
    config, text = _read(arguments)
    exp: Path = arguments.exp
    models: dict[str, Any] = {}
    if (exp / "classic" / "metrics.json").exists():
        models["classic"] = _score_classic(exp / "classic", text, config.classic.step)
    if (exp / "modern" / "best").is_dir():
        models["modern"] = _score_modern(exp / "modern", text)
    if not models:
        raise ConfigError(f"{exp}: neither classic nor modern was trained there; train one first")
    result = {"held_out": len(text.held_out), **models, "machine": describe_machine()}
    write_json(exp / "score.json", result)
    _draw(models, exp / "bits.png")
    print(_table(result))
    if arguments.readme:
        write_table(arguments.readme, _table(result))


def _score_classic(folder: Path, text: Characters, step: int) -> dict[str, Any]:
    model, _ = windows.load_windows(folder)
    epochs = read_json(folder / "metrics.json")["epochs"]
    return {
        "bits": windows.measure(model, text.held_out, step=step),
        "best_bits": min(epoch["bits"] for epoch in epochs),
        "epochs": len(epochs),
        "parameters": sum(p.numel() for p in model.parameters()),
        "curve": epochs,
        **training_seconds(folder),
    }


def _score_modern(folder: Path, text: Characters) -> dict[str, Any]:
    model = NeuralLanguageModel.load(folder)
    assert isinstance(model.network, LstmLM)
    lines = read_metrics(folder / "metrics.jsonl")
    curve = [{"epoch": r["epoch"], "bits": r["bits"]} for r in lines if r["kind"] == "dev"]
    return {
        "bits": stream.measure(model.network, text.held_out),
        "best_bits": min(point["bits"] for point in curve),
        "epochs": read_json(folder / "best" / "metrics.json")["epoch"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "curve": curve,
        **training_seconds(folder),
    }


def _table(result: dict[str, Any]) -> str:
    rows = [
        f"On the last {result['held_out']:,} characters; {result['machine']}.",
        "",
        "| model | parameters | epochs | bits per character | CPU time |",
        "|---|---|---|---|---|",
    ]
    for name, label in (("classic", "classic, after the last epoch"), ("modern", "modern, best")):
        if name not in result:
            continue
        found = result[name]
        # Not known of a training that was stopped on the way.
        seconds = found.get("training_cpu_seconds")
        rows.append(
            f"| {label} | {found['parameters']:,} | {found['epochs']:.3g} | {found['bits']:.3f} "
            f"| {'' if seconds is None else f'{seconds:,} s'} |"
        )
    return "\n".join(rows)


def _draw(models: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    for name, found in models.items():
        curve = found["curve"]
        axis.plot([p["epoch"] for p in curve], [p["bits"] for p in curve], ".-", label=name)
    axis.set(xlabel="epoch", ylabel="bits per character, held out")
    axis.legend()
    figure.savefig(path, dpi=80)


def generate(arguments: argparse.Namespace) -> None:
    """Print texts that go on from a prompt."""
    sampling = Sampling(arguments.temperature, arguments.top_k, arguments.top_p)
    if arguments.length < 1 or arguments.beam < 0:
        raise ConfigError("--length and --beam: numbers from 1 and from 0 are needed")
    prompt = arguments.prompt.lower()
    if not prompt:
        raise TextError("--prompt is empty: one character or more is needed")
    n = 1 if arguments.beam else arguments.samples
    model, symbols, state, first = _start(arguments.model, prompt, n)
    lengths = [arguments.length] * n
    if arguments.beam:
        (found,) = beam_search(model, state, lengths, width=arguments.beam, first=first)
        results = found[: arguments.samples]
    else:
        generator = torch.Generator().manual_seed(arguments.seed)
        results = sample(model, state, lengths, generator=generator, sampling=sampling, first=first)
    for result in results:
        print(prompt + text_of(result.tokens, symbols))


def _start(
    folder: Path, prompt: str, n_sequences: int
) -> tuple[Autoregressive, tuple[str, ...], State, list[int]]:
    """Load a model of either kind and let it read the prompt."""
    if (folder / "training.safetensors").exists():
        classic, tokenizer = windows.load_windows(folder)
        state, first = classic.start(tokenizer.encode(prompt), n_sequences)
        return classic, tokenizer.symbols, state, first
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model; EXP/classic or EXP/modern is needed")
    modern = NeuralLanguageModel.load(folder)
    assert isinstance(modern.units, TokenizerUnits)
    state, first = stream.start_behind(modern, modern.units.encode(prompt), n_sequences)
    return modern, modern.units.tokenizer.symbols, state, first


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Character models of a text.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("train", train), ("score", score)):
        command = commands.add_parser(name)
        command.add_argument("text", type=Path, help="UTF-8 text")
        command.add_argument("conf", type=Path, help="TOML file")
        command.add_argument("exp", type=Path, help="experiment folder")
        command.add_argument("--set", action="append", default=[], dest="overrides")
        command.set_defaults(run=run)
        if name == "train":
            command.add_argument("--model", choices=("classic", "modern", "both"), default="both")
        else:
            command.add_argument("--readme", type=Path, help="also write the table there")
    command = commands.add_parser("generate")
    command.add_argument("model", type=Path, help="EXP/classic or EXP/modern")
    command.add_argument("--prompt", required=True)
    command.add_argument("--length", type=int, default=400, help="characters (400)")
    command.add_argument("--samples", type=int, default=1)
    command.add_argument("--temperature", type=float, default=1.0)
    command.add_argument("--top-k", type=int, default=0, help="0: all")
    command.add_argument("--top-p", type=float, default=1.0, help="the nucleus; 1: all")
    command.add_argument("--beam", type=int, default=0, help="width; 0: draw")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=generate)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except AsrError as error:
        print(f"textgen: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
