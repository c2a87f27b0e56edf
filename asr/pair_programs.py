"""Programs of the recipes that make one text from another: a translation, a summary, a reply."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from asr.cli import run_program
from asr.errors import DependencyError, TextError
from asr.manifest import read_lines
from asr.pieces import Sides, WordPieces, read_pairs
from asr.translator import Translator
from asr.translator_programs import PairSets, TranslatorProgram, run_translator_training
from asr.world import select_device

__all__ = ["WriterProgram", "draw_attention", "run_training", "run_writer", "write_targets"]


def run_training(description: str, sides: Sides, argv: Sequence[str] | None = None) -> int:
    """Run `train.py CONFIG.toml TEXT EXP` on the parts train and dev of `write_pairs`.

    Returns:
        The exit code; see `asr.cli.run_program`.
    """

    def read(folder: Path) -> PairSets:
        pieces = WordPieces.load(folder / "tokenizer")
        training, dev = (read_pairs(folder, part, sides, pieces) for part in ("train", "dev"))
        return PairSets(training, dev, (pieces.symbols, pieces.symbols))

    program = TranslatorProgram(description, "folder that prepare.py wrote", "piece", read)
    return run_translator_training(program, argv)


class WriterProgram(NamedTuple):
    """What is particular about a recipe's program that makes texts from texts.

    Args:
        name: of the program, in front of an error.
        description: for its help.
        unit: what a line is, as "sentence".
        max_length: word pieces of what is written at most; None: see `Translator.translate`.
    """

    name: str
    description: str
    unit: str
    max_length: int | None = None


def run_writer(program: WriterProgram, argv: Sequence[str] | None = None) -> int:
    """Run `NAME.py MODEL TOKENIZER INPUT OUTPUT`, a text a line, by beam search.

    Returns:
        The exit code; see `asr.cli.run_program`.
    """
    parser = argparse.ArgumentParser(description=program.description)
    parser.add_argument("model", type=Path, help="model or experiment folder")
    parser.add_argument("tokenizer", type=Path, help="folder of the word pieces")
    parser.add_argument("input", type=Path, help=f"a {program.unit} a line")
    parser.add_argument("output", type=Path, help="what is made of them, a line each")
    parser.add_argument("--width", type=int, default=5, help="of the beam; 1: greedy (default: 5)")
    parser.add_argument("--length-exponent", type=float, default=1.0, help="default: 1")
    parser.add_argument("--draw", type=Path, metavar="PNG", help="the first one's attention")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    arguments = parser.parse_args(argv)
    return run_program(program.name, lambda: _write(program, arguments))


def _write(program: WriterProgram, arguments: argparse.Namespace) -> int:
    pieces = WordPieces.load(arguments.tokenizer)
    translator = Translator.load(arguments.model, select_device(arguments.device))
    pairs = write_targets(
        translator,
        pieces,
        read_lines(arguments.input),
        program=program,
        width=arguments.width,
        length_exponent=arguments.length_exponent,
    )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{pieces.decode(target)}\n" for _, target in pairs)
    arguments.output.write_text(text, encoding="utf-8")
    if arguments.draw and pairs:
        draw_attention(translator, *pairs[0], arguments.draw)
    print(f"{arguments.output}: {len(pairs):,} {program.unit}s")
    return 0


def write_targets(
    translator: Translator,
    pieces: WordPieces,
    texts: Sequence[str],
    *,
    program: WriterProgram,
    width: int,
    length_exponent: float,
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the word pieces of texts and of what is made of them.

    Raises:
        TextError: a text is empty, or of characters that no piece covers.
    """
    sources = [pieces.encode(text) for text in texts]
    for number, source in enumerate(sources, start=1):
        if not source:
            raise TextError(
                f"{program.unit} {number}: {texts[number - 1]!r} has no character that is known"
            )
    found = translator.translate(
        sources, width=width, length_exponent=length_exponent, max_length=program.max_length
    )
    return [(source, best[0].symbols) for source, best in zip(sources, found, strict=True)]


def draw_attention(
    translator: Translator, source: Sequence[str], target: Sequence[str], path: Path
) -> None:
    """Write a picture of the attention weights, a row for each piece of the target.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("--draw needs matplotlib: pip install matplotlib") from None
    weights = translator.align(source, target).numpy()
    figure = Figure(figsize=(2 + 0.35 * len(source), 1.5 + 0.35 * len(target)), layout="tight")
    axes = figure.subplots()
    axes.imshow(weights, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(source)), labels=[*source], rotation=60, ha="left")
    axes.set_yticks(range(len(target) + 1), labels=[*target, "</s>"])
    axes.xaxis.tick_top()
    figure.savefig(path, dpi=120)
