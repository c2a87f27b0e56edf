"""Train a neural language model and note how long it took.

    python recipes/nplm/train.py EXP/lstm EXP/text/train.txt --kind lstm --config CONF.toml ...

is `python -m lm train EXP/text/train.txt --output EXP/lstm --kind lstm --config CONF.toml ...`,
whose options all apply; EXP/lstm/seconds receives the time and the CPU time, with those of the runs
that it goes on from.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from asr.recipe_programs import timed
from lm import __main__ as lm_program

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    folder, *options = sys.argv[1:] if argv is None else argv
    with timed(Path(folder)):
        return lm_program.main(["train", *options, "--output", folder])


if __name__ == "__main__":
    sys.exit(main())
