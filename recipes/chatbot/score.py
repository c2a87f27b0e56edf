"""Perplexity of the network and of an n-gram model on the same replies.

    python recipes/chatbot/score.py EXP model
    python recipes/chatbot/score.py --table EXP --readme recipes/chatbot/README.md

reads EXP/text and the models EXP/NAME.  The n-gram model is a modified Kneser-Ney 5-gram of the
same word pieces, counted from the replies that the network was trained on; it reads what was
written of the reply, and nothing of the turn that it answers.  "perplexity" in score.json is that
of the last NAME.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.errors import ConfigError
from asr.pieces import WordPieces, read_pairs
from asr.recipe_programs import ScoreProgram, machine_facts, run_score, training_facts
from asr.translator import Translator
from asr.translator_train import Pair, measure
from lm.corpus import corpus_from_sentences
from lm.counts import count_ngrams
from lm.kneser_ney import FALLBACK, Smoothing, estimate
from lm.perplexity import Perplexity, measure_perplexity
from lm.table import NgramTable

__all__ = ["main", "ngram_perplexity", "summarize", "table"]

ORDER = 5


def ngram_perplexity(training: Sequence[Pair], test: Sequence[Pair]) -> Perplexity:
    """Return how an n-gram model of the targets finds those of a test."""
    counts = count_ngrams(corpus_from_sentences(target for _, target in training), ORDER)
    # The fallback is for texts of a smoke test; a real one gives discounts of its own.
    model = estimate(counts, Smoothing(discount_fallback=FALLBACK))
    return measure_perplexity(NgramTable.from_model(model), (target for _, target in test))


def summarize(exp: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        AsrError: no name is given; a file is missing or damaged.
    """
    if not names:
        raise ConfigError("no model to score: name those in EXP, as model")
    text = exp / "text"
    pieces = WordPieces.load(text / "tokenizer")
    training, test = (
        read_pairs(text, part, ("turn", "reply"), pieces) for part in ("train", "test")
    )
    models = {}
    for name in names:
        loss, n_tokens = measure(Translator.load(exp / name), test)
        facts = training_facts(exp / name)
        models[name] = facts | {"perplexity": math.exp(loss / n_tokens)}
    ngram = ngram_perplexity(training, test)
    return {
        "perplexity": models[names[-1]]["perplexity"],
        "n_replies": len(test),
        "n_pieces": ngram.n_words + ngram.n_sentences,
        "models": models,
        "ngram": {"order": ORDER, "perplexity": ngram.perplexity(), "n_unknown": ngram.n_unknown},
        "machine": machine_facts(),
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    machine, ngram = result["machine"], result["ngram"]
    rows = [
        f"{result['n_replies']:,} replies of the test, {result['n_pieces']:,} word pieces with "
        f"ends; trained on one CPU core ({machine['processor']}, torch {machine['torch']}).",
        "",
        "| model | reads | perplexity per piece | epochs | CPU time |",
        "|---|---|---|---|---|",
        f"| Kneser-Ney {ngram['order']}-gram | the reply so far | {ngram['perplexity']:.2f} | | |",
    ]
    rows += [
        f"| {name} | the turn and the reply so far | {found['perplexity']:.2f} "
        f"| {found['epochs']:.1f} | {found['training_cpu_seconds'] / 60:.0f} min |"
        for name, found in result["models"].items()
    ]
    return "\n".join(rows)


PROGRAM = ScoreProgram(
    description="Perplexity on the replies of the test.",
    names_help="models in EXP",
    summarize=summarize,
    table=table,
    headline=lambda result: (
        f"perplexity {result['perplexity']:.2f}, "
        f"{result['ngram']['order']}-gram {result['ngram']['perplexity']:.2f}"
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
