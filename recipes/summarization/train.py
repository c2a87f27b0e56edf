"""Train a network that sums up abstracts.

    python recipes/summarization/train.py CONFIG.toml TEXT EXP

reads TEXT as prepare.py writes it; the model is EXP/best.  The same command goes on after an
interruption.
"""

import sys
from collections.abc import Sequence

from asr.pair_programs import run_training

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_training("Train a network that sums up.", ("abstract", "summary"), argv)


if __name__ == "__main__":
    sys.exit(main())
