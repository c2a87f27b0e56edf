"""The command `python -m lm`: train, score, measure, convert, prune and mix language models."""

import argparse
import logging
import sys
from collections.abc import Sequence

from asr.cli import Parser, run_program

__all__ = ["main"]

_MODEL_HELP = "n-gram table, ARPA file (plain, gzip, xz) or KenLM binary"
_ANY_MODEL_HELP = f"{_MODEL_HELP}; or the folder of a neural model"
_OUTPUT_HELP = "file to write: .arpa, .arpa.gz, .arpa.xz, or .ngram for a table"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the arguments after the program's name; those of the process by default

    Returns:
        0 done, 2 bad input or arguments, 130 interrupted, 141 when the reader of standard
        output went away.
    """
    return run_program("lm", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    level = logging.DEBUG if arguments.verbose else logging.WARNING
    logging.basicConfig(format="lm: %(message)s", level=level, stream=sys.stderr)
    from lm import commands  # here, so that the help comes at once

    getattr(commands, arguments.command)(arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m lm", description="Language models.")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what goes on")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_train(_add(commands, "train", "estimate a model from text"))
    score = _add(commands, "score", "log-probability of each line (natural log)")
    _add_model_and_text(score)
    score.add_argument("--words", action="store_true", help="of each word and sentence end too")
    perplexity = _add(commands, "perplexity", "perplexity and unknown words of texts")
    _add_model_and_text(perplexity)
    perplexity.add_argument("--json", action="store_true", help="write JSON")
    convert = _add(commands, "convert", "ARPA to table or back; a table stays quantised")
    convert.add_argument("model", help=_MODEL_HELP)
    convert.add_argument("output", help=_OUTPUT_HELP)
    _add_table_options(convert)
    prune = _add(commands, "prune", "make a model smaller")
    prune.add_argument("model", help=_MODEL_HELP)
    prune.add_argument("output", help=_OUTPUT_HELP)
    prune.add_argument("--entropy", type=float, metavar="X", help="Stolcke's threshold, as 1e-8")
    prune.add_argument("--vocabulary", metavar="FILE", help="keep the words of this list only")
    prune.add_argument(
        "--keep-scores",
        action="store_true",
        help="with --vocabulary: leave the scores of the words that stay as they are",
    )
    _add_table_options(prune)
    _add_mix(_add(commands, "mix", "one model from several, as for a domain with little text"))
    _add_split(_add(commands, "split", "cut a text into parts to train, tune and test on"))
    generate = _add(commands, "generate", "draw sentences from a model")
    generate.add_argument("model", help=_ANY_MODEL_HELP)
    generate.add_argument("-n", "--sentences", type=int, default=10, help="how many (10)")
    generate.add_argument("--seed", type=int, default=0, help="of the random numbers (0)")
    generate.add_argument("--prefix", default="", help="words that every sentence starts with")
    generate.add_argument(
        "--max-words", type=int, default=100, help="length at most, in the model's units (100)"
    )
    generate.add_argument("--temperature", type=float, default=1.0, help="below 1: likelier text")
    return parser


def _add(
    commands: "argparse._SubParsersAction[Parser]",
    name: str,
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(command=name)
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="+", help="a sentence a line; plain, gzip, xz; - for stdin")
    parser.add_argument(
        "-o", "--output", required=True, help=f"{_OUTPUT_HELP}; for a neural model a folder"
    )
    parser.add_argument(
        "--kind",
        choices=("ngram", "lstm", "nplm"),
        default="ngram",
        help="n-gram model (default), recurrent model, or the feed-forward one of Bengio et al.",
    )
    parser.add_argument("--order", type=int, default=3, help="length of the n-grams (3)")
    parser.add_argument(
        "--estimator",
        choices=("kneser-ney", "maximum-likelihood"),
        default="kneser-ney",
        help="interpolated modified Kneser-Ney (default) or relative frequencies",
    )
    parser.add_argument(
        "--engine",
        choices=("numpy", "lmplz"),
        default="numpy",
        help="numpy in memory, to some 50 million words, or KenLM's program for more",
    )
    parser.add_argument(
        "--prune",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="leave out n-grams that occur no more often, one number per order, as 0 0 1",
    )
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--vocabulary", metavar="FILE", help="word list: leave out other words")
    words.add_argument("--vocabulary-size", type=int, metavar="N", help="the most frequent words")
    parser.add_argument(
        "--count-unknown",
        action="store_true",
        help="count other words as <unk>, as neural models do, instead of leaving them out",
    )
    parser.add_argument(
        "--discount-fallback",
        type=float,
        nargs="*",
        metavar="D",
        help="discounts for counts that allow no estimate (0.5 1 1.5)",
    )
    parser.add_argument("--skip-symbols", action="store_true", help="leave out <s>, </s>, <unk>")
    parser.add_argument("--memory", default="50%", help="for lmplz (50%%)")
    _add_units(parser)
    _add_table_options(parser)
    neural = parser.add_argument_group("neural models, which take units and vocabulary from above")
    neural.add_argument("--config", metavar="FILE.toml", help="see recipes/*/conf for examples")
    neural.add_argument(
        "--init-from",
        metavar="MODEL",
        help="a neural model to start from, with its units; the new one may have a larger "
        "model.hidden_size",
    )
    neural.add_argument(
        "--set",
        dest="overrides",
        metavar="A.B=C",
        action="append",
        default=[],
        help="override a value, as --set model.hidden_size=650; may be repeated",
    )
    neural.add_argument(
        "--dev", nargs="+", metavar="FILE", help="held-out text (default: some of the lines)"
    )
    neural.add_argument("--pieces", type=int, metavar="N", help="word pieces, learned from text")


def _add_mix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help=_MODEL_HELP)
    parser.add_argument("-o", "--output", required=True, help=_OUTPUT_HELP)
    parser.add_argument(
        "--weights", type=float, nargs="+", metavar="X", help="of the models; they sum to 1"
    )
    parser.add_argument(
        "--tune",
        dest="text",
        nargs="+",
        default=[],
        metavar="FILE",
        help="find the weights with which this text is likeliest: a sentence a line, none of it "
        "in what the models were made from",
    )
    _add_units(parser)
    _add_table_options(parser)


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", help="a sentence a line; plain, gzip or xz")
    parser.add_argument("output", help="folder for train.txt, dev.txt, test.txt and words.txt")
    parser.add_argument("--words", type=int, default=0, help="at the start, to train on (the rest)")
    parser.add_argument("--dev-words", type=int, default=0, help="before the test (0: no dev.txt)")
    parser.add_argument("--test-words", type=int, default=100_000, help="at the end (100,000)")
    parser.add_argument(
        "--gap-words", type=int, default=0, help="to leave out before dev and before the test (0)"
    )
    parser.add_argument(
        "--vocabulary", type=int, metavar="N", help="write the N most frequent words to words.txt"
    )
    parser.add_argument(
        "--vocabulary-from",
        type=int,
        default=0,
        metavar="N",
        help="count them in so many words at the start (all that are trained on)",
    )


def _add_model_and_text(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help=_ANY_MODEL_HELP)
    parser.add_argument("text", nargs="*", default=["-"], help="a sentence a line (stdin)")
    _add_units(parser)


def _add_units(parser: argparse.ArgumentParser) -> None:
    units = parser.add_mutually_exclusive_group()
    units.add_argument("--characters", action="store_true", help="characters instead of words")
    units.add_argument("--tokenizer", metavar="FOLDER", help="this tokenizer's tokens")
    parser.add_argument(
        "--normalize", action="store_true", help="write the text as transcripts are: A-Z and '"
    )


def _add_table_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quantize",
        type=int,
        choices=(16, 8),
        metavar="BITS",
        help="a table's bits per probability, 16 or 8",
    )
    parser.add_argument(
        "--compress",
        action="store_true",
        help="a table a third as large, which is read and not mapped into memory",
    )


if __name__ == "__main__":
    sys.exit(main())
