"""Translate a text, and draw where the model looks.

    python recipes/translation/translate.py MODEL TOKENIZER INPUT OUTPUT
    python recipes/translation/translate.py MODEL TOKENIZER INPUT OUTPUT --draw attention.png

MODEL is an experiment or model folder, TOKENIZER a folder that prepare.py wrote, INPUT a sentence
a line.  The picture is of the first sentence.
"""

import sys
from collections.abc import Sequence

from asr.pair_programs import WriterProgram, run_writer

__all__ = ["main"]

PROGRAM = WriterProgram("translate", "Translate a text.", "sentence")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_writer(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
