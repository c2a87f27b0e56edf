"""Perplexities of an n-gram and a neural model of words, on the same text and vocabulary.

    python recipes/librispeech/perplexity.py EXP/words.ngram EXP/lstm_lm dev-clean.jsonl ...

The vocabulary is that of the n-gram model, the lexicon of the beam search; the neural model shares
its P(<unk>) out among the words that it lacks (lm.word_shares).  Words outside the vocabulary are
not counted, but stand in the contexts of those after them.  The mixture is half of each model.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.cli import run_program
from asr.errors import ConfigError
from asr.manifest import read_manifest
from asr.text import normalize
from lm.backoff import UNKNOWN
from lm.language_model import load_language_model
from lm.neural_model import NeuralLanguageModel
from lm.table import NgramTable
from lm.word_shares import WordShares

__all__ = ["log_probs_of", "main"]

_Doubles = NDArray[np.float64]


def log_probs_of(
    table: NgramTable, neural: NeuralLanguageModel, sentences: Sequence[Sequence[str]]
) -> tuple[_Doubles, _Doubles, int]:
    """Score all words of the table's vocabulary, and the sentences' ends.

    Returns:
        log P by the table and by the neural model, (N,) each; the number of words left out.
    """
    unigrams = table.arc_log_probs()[: table.n_words]
    # Behind <unk>, <s> and </s>.
    shares = WordShares(neural, table.vocabulary[3:], unigrams[3:], float(unigrams[UNKNOWN]))
    encoded = [[shares.find(word) for word in sentence] for sentence in sentences]
    found = neural.log_probs([[token for token, _ in each] for each in encoded])
    by_table, by_neural = [], []
    n_left_out = 0
    for sentence, each, log_probs in zip(sentences, encoded, found, strict=True):
        is_known = [table.word_id(word) != UNKNOWN for word in sentence] + [True]
        n_left_out += is_known.count(False)
        by_table.append(table.log_probs(sentence)[is_known])
        by_neural.append((log_probs + np.array([*(share for _, share in each), 0.0]))[is_known])
    return np.concatenate(by_table, dtype=float), np.concatenate(by_neural), n_left_out


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ngram", help="a table or ARPA file of words")
    parser.add_argument("neural", help="the folder of a neural model of words")
    parser.add_argument("manifests", metavar="MANIFEST", type=Path, nargs="+")
    arguments = parser.parse_args(argv)
    return run_program("perplexity", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    table = load_language_model(arguments.ngram)
    if not isinstance(table, NgramTable):
        raise ConfigError(f"{arguments.ngram}: a KenLM binary; an ARPA file or a table is needed")
    neural = NeuralLanguageModel.load(arguments.neural)
    print("| text | tokens | words left out | n-gram | neural | mixture |")
    print("|---|---|---|---|---|---|")
    for path in arguments.manifests:
        sentences = [normalize(utterance.text).split() for utterance in read_manifest(path)]
        ngram, own, n_left_out = log_probs_of(table, neural, sentences)
        mixture = np.logaddexp(ngram, own) - np.log(2)
        figures = [np.exp(-values.mean()) for values in (ngram, own, mixture)]
        shown = " | ".join(f"{value:.1f}" for value in figures)
        print(f"| {path.stem} | {len(ngram):,} | {n_left_out:,} | {shown} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
