"""`python -m asr`, the same as the command `asr`."""

import sys

from asr.cli import main

if __name__ == "__main__":
    sys.exit(main())
