"""Several command lines of `asr` in one process, which loads torch and the compiled search once.

    python tools/asr_each.py evaluate A.jsonl --model M -- evaluate B.jsonl --model M --greedy

They run one after the other; the first that fails ends it, with its exit code.
"""

import shlex
import sys
from collections.abc import Sequence
from itertools import groupby

from asr.cli import main as asr

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command lines."""
    words = sys.argv[1:] if argv is None else argv
    for is_end, command in groupby(words, "--".__eq__):
        if is_end:
            continue
        arguments = list(command)
        print(f"-- asr {shlex.join(arguments)}", file=sys.stderr, flush=True)
        if code := asr(arguments):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
