"""Translate a text, and draw where the model looks.

    python recipes/translation/translate.py MODEL TOKENIZER INPUT OUTPUT
    python recipes/translation/translate.py MODEL TOKENIZER INPUT OUTPUT --draw attention.png

MODEL is an experiment or model folder, TOKENIZER a folder that prepare.py wrote, INPUT a sentence
a line.  The picture is of the first sentence.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asr.errors import AsrError, DependencyError, TextError
from asr.manifest import read_lines
from asr.text import Tokenizer, load_tokenizer
from asr.translator import Translator
from asr.world import select_device

__all__ = ["draw_attention", "main", "translate"]


def translate(
    translator: Translator,
    tokenizer: Tokenizer,
    sentences: Sequence[str],
    *,
    width: int,
    length_exponent: float,
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the word pieces of sentences and of their translations.

    Raises:
        TextError: a sentence is empty, or of characters that no piece covers.
    """
    unknown = str.maketrans("", "", "".join(tokenizer.unknown("".join(sentences))))
    sources = []
    for number, sentence in enumerate(sentences, start=1):
        pieces = tokenizer.encode(sentence.translate(unknown))
        if not pieces:
            raise TextError(f"sentence {number}: {sentence!r} has no character that is known")
        sources.append(tuple(tokenizer.symbols[piece] for piece in pieces))
    found = translator.translate(sources, width=width, length_exponent=length_exponent)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Translate a text.")
    parser.add_argument("model", type=Path, help="model or experiment folder")
    parser.add_argument("tokenizer", type=Path, help="folder of the word pieces")
    parser.add_argument("input", type=Path, help="a sentence a line")
    parser.add_argument("output", type=Path, help="translations, a line each")
    parser.add_argument("--width", type=int, default=5, help="of the beam; 1: greedy (default: 5)")
    parser.add_argument("--length-exponent", type=float, default=1.0, help="default: 1")
    parser.add_argument("--draw", type=Path, metavar="PNG", help="picture of the attention")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    arguments = parser.parse_args(argv)
    try:
        tokenizer = load_tokenizer(arguments.tokenizer)
        translator = Translator.load(arguments.model, select_device(arguments.device))
        pairs = translate(
            translator,
            tokenizer,
            read_lines(arguments.input),
            width=arguments.width,
            length_exponent=arguments.length_exponent,
        )
        ids = {symbol: number for number, symbol in enumerate(tokenizer.symbols)}
        lines = [tokenizer.decode([ids[piece] for piece in target]) for _, target in pairs]
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{line}\n" for line in lines)
        arguments.output.write_text(text, encoding="utf-8")
        if arguments.draw and pairs:
            draw_attention(translator, *pairs[0], arguments.draw)
    except AsrError as error:
        print(f"translate: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{arguments.output}: {len(lines):,} sentences")
    return 0


if __name__ == "__main__":
    sys.exit(main())
