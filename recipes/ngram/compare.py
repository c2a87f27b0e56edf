"""The same models by KenLM: estimated by lmplz, measured by the package kenlm.

    python recipes/ngram/compare.py CONF.toml EXP [--set A.B=C]

writes EXP/lmplz.json, and nothing where lmplz is not on PATH: tools/build_lmplz.sh builds it.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ngram_config import NgramConfig
from ngram_text import read_test

from asr.checkpoint import write_json
from asr.cli import run_program
from asr.manifest import read_lines
from asr.toml_config import load_toml
from lm.corpus import read_words
from lm.kenlm_model import KenlmModel
from lm.kneser_ney import FALLBACK, Smoothing
from lm.lmplz import train_with_lmplz
from lm.text_parts import first_words

__all__ = ["main"]

# lmplz counts no <unk>: words outside the vocabulary get a name that no word has.
OTHER = "<other>"


def _compare(arguments: argparse.Namespace) -> int:
    config = load_toml(NgramConfig, arguments.config, arguments.overrides)
    path: Path = arguments.exp / "lmplz.json"
    path.unlink(missing_ok=True)
    if shutil.which("lmplz") is None:
        print("lmplz is not on PATH: nothing to compare with; tools/build_lmplz.sh builds it")
        return 0
    folder: Path = arguments.exp / "text"
    words = set(read_words(folder / "words.txt"))
    test = [[word if word in words else OTHER for word in line] for line in read_test(folder)]
    sentences: Sequence[str] = read_lines(folder / "train.txt")
    if config.compare.size:
        sentences = first_words(sentences, config.compare.size)
    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        text = Path(temporary, "text")
        text.write_text("".join(f"{line}\n" for line in sentences), encoding="utf-8")
        for order in config.compare.orders:
            arpa = Path(temporary, "model.arpa")
            started = time.monotonic()
            train_with_lmplz(
                [text],
                arpa,
                order,
                Smoothing(discount_fallback=FALLBACK),
                split=lambda line: [word if word in words else OTHER for word in line.split()],
                memory=config.compare.memory,
            )
            seconds = time.monotonic() - started
            model = KenlmModel(arpa)
            log_probs = np.concatenate([model.log_probs(line) for line in test])
            perplexity = float(np.exp(-log_probs.mean(dtype=float)))
            done.append({"order": order, "perplexity": perplexity, "seconds": seconds})
            write_json(path, {"size": config.compare.size, "models": done})
            print(f"lmplz, order {order}: perplexity {perplexity:.2f} in {seconds:.0f} s")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Estimate models with lmplz.")
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    return run_program("compare", lambda: _compare(arguments))


if __name__ == "__main__":
    sys.exit(main())
