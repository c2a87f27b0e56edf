"""What a model says of every word of dev and test.

    python recipes/nplm/evaluate.py EXP ngram-3 lstm

reads EXP/text and EXP/NAME.ngram or the folder EXP/NAME, and writes EXP/log_probs/NAME.npz: log P
of each word and sentence end of `dev` and `test`, in the order of the text, and the model's size.
Each sentence is scored by itself; a word outside the vocabulary as <unk>.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.cli import run_program
from lm.neural_model import NeuralLanguageModel
from lm.neural_train import read_sentences
from lm.table import NgramTable

__all__ = ["log_probs", "main", "model_size"]


def log_probs(
    model: NgramTable | NeuralLanguageModel, sentences: Sequence[str]
) -> NDArray[np.float32]:
    """Return log P of the words and ends of sentences, (N,)."""
    if isinstance(model, NgramTable):
        found = model.score_sentences([sentence.split() for sentence in sentences])
    else:
        found = model.log_probs([model.units.encode(sentence) for sentence in sentences])
    return np.concatenate(found)


def model_size(model: NgramTable | NeuralLanguageModel) -> int:
    """Return the number of n-grams or of parameters."""
    if isinstance(model, NgramTable):
        return sum(model.n_ngrams)
    return sum(parameter.numel() for parameter in model.parameters())


def _evaluate(exp: Path, names: Sequence[str]) -> int:
    texts = {part: read_sentences([exp / "text" / f"{part}.txt"]) for part in ("dev", "test")}
    (exp / "log_probs").mkdir(exist_ok=True)
    for name in names:
        table = exp / f"{name}.ngram"
        model = NgramTable.load(table) if table.exists() else NeuralLanguageModel.load(exp / name)
        parts = {part: log_probs(model, sentences) for part, sentences in texts.items()}
        path = exp / "log_probs" / f"{name}.npz"
        np.savez(path, size=model_size(model), dev=parts["dev"], test=parts["test"])
        perplexity = np.exp(-parts["dev"].mean(dtype=float))
        print(f"{path}: perplexity {perplexity:.2f} on dev")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Score every word of dev and test.")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("names", metavar="NAME", nargs="+", help="models in it")
    arguments = parser.parse_args(argv)
    return run_program("evaluate", lambda: _evaluate(arguments.exp, arguments.names))


if __name__ == "__main__":
    sys.exit(main())
