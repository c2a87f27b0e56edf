"""Number the words of a text.

    python recipes/word2vec/prepare.py CONF.toml TEXT EXP [--set A.B=C]

writes EXP/text.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from encoded_text import encode, save_text
from rich.console import Console
from word2vec_config import Word2vecConfig

from asr.cli import run_program
from asr.toml_config import load_toml

__all__ = ["main"]


def _prepare(arguments: argparse.Namespace) -> int:
    config = load_toml(Word2vecConfig, arguments.config, arguments.overrides)
    with Console().status(f"reading {arguments.text}"):
        text = encode(arguments.text, config.corpus)
    folder: Path = arguments.exp / "text"
    save_text(text, folder)
    print(
        f"{folder}: {len(text.words):,} different words, {len(text.training.tokens):,} in all to "
        f"learn from, {len(text.held_out.tokens):,} held out"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Number the words of a text.")
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("text", type=Path, help="a sentence a line; plain, gzip or xz")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    return run_program("prepare", lambda: _prepare(arguments))


if __name__ == "__main__":
    sys.exit(main())
