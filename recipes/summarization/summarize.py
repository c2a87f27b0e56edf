"""Sum up abstracts, and draw where the model looks.

    python recipes/summarization/summarize.py MODEL TOKENIZER INPUT OUTPUT

MODEL is an experiment or model folder, TOKENIZER a folder that prepare.py wrote, INPUT an abstract
a line.
"""

import sys
from collections.abc import Sequence

from asr.pair_programs import WriterProgram, run_writer

__all__ = ["main"]

PROGRAM = WriterProgram("summarize", "Sum up abstracts.", "abstract", max_length=60)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_writer(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
