"""Phone and word error rates, as EXP/score.json and as the table of the README.

    python recipes/g2p/score.py EXP greedy beam-5
    python recipes/g2p/score.py --table EXP --readme recipes/g2p/README.md

reads EXP/dictionaries/test.dict, EXP/decode/NAME.dict, and where it is there EXP/model/seconds (of
the training, and of its CPU time).  A word is compared with that of its pronunciations which it
has the fewest errors against; "per" and "wer" in score.json are those of the last NAME.  The second
form prints the table of an earlier score.json and writes it to where the README has the last one.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.errors import ConfigError
from asr.lexicon import Lexicon, read_lexicon
from asr.metrics import score
from asr.recipe_programs import ScoreProgram, machine_facts, run_score, training_seconds
from asr.training_log import read_metrics

__all__ = ["closest", "figures", "main", "summarize", "table"]


def closest(pronunciations: Sequence[Sequence[str]], hypothesis: Sequence[str]) -> str:
    """Return the pronunciation with the fewest errors, the first of several."""
    texts = [" ".join(phones) for phones in pronunciations]
    if len(texts) == 1:
        return texts[0]

    def n_errors(text: str) -> int:
        result = score([text], [" ".join(hypothesis)], n_bootstrap=0)
        return result.substitutions + result.insertions + result.deletions

    return min(texts, key=n_errors)


def figures(reference: Lexicon, hypothesis: Lexicon) -> dict[str, Any]:
    """Return the error rates of one dictionary against another, over the words of the latter."""
    references, hypotheses = [], []
    for word in reference.words:
        # A word that is missing was given no phones.
        phones = (hypothesis.pronunciations(word) or [()])[0]
        references.append(closest(reference.pronunciations(word), phones))
        hypotheses.append(" ".join(phones))
    result = score(references, hypotheses)
    wer, n_words = result.sentence_error_rate, result.n_utterances
    margin = 1.96 * math.sqrt(wer * (1 - wer) / n_words)
    return {
        "per": result.wer,
        "per_interval": result.interval,
        "wer": wer,
        "wer_interval": (max(0.0, wer - margin), min(1.0, wer + margin)),
        "n_words": n_words,
        "n_phones": result.n_words,
        "substitutions": result.substitutions,
        "insertions": result.insertions,
        "deletions": result.deletions,
    }


def summarize(exp: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        ConfigError: no name is given.
        TextError: a dictionary is missing or damaged.
    """
    if not names:
        raise ConfigError("no dictionary to score: name those in EXP/decode, without .dict")
    reference = read_lexicon(exp / "dictionaries" / "test.dict", stress=True)
    decoded = {
        name: figures(reference, read_lexicon(exp / "decode" / f"{name}.dict", stress=True))
        for name in names
    }
    last = decoded[names[-1]]
    result: dict[str, Any] = {"per": last["per"], "wer": last["wer"], "decoded": decoded}
    result["epochs"] = read_metrics(exp / "model" / "metrics.jsonl")[-1]["epoch"]
    result.update(training_seconds(exp / "model"))
    result["machine"] = machine_facts()
    return result


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    machine = result["machine"]
    first = next(iter(result["decoded"].values()))
    training = f"{result['epochs']:.1f} epochs"
    if "training_seconds" in result:
        training += (
            f" in {result['training_seconds']:,} s, {result['training_cpu_seconds']:,} s of one CPU"
        )
    rows = [
        f"{first['n_words']:,} held-out words, {first['n_phones']:,} phones; {training} "
        f"({machine['processor']}, torch {machine['torch']}).",
        "",
        "| decoding | phone error rate | 95 % | word error rate | 95 % |",
        "|---|---|---|---|---|",
    ]
    for name, found in result["decoded"].items():
        cells = [name]
        for measure in ("per", "wer"):
            low, high = found[f"{measure}_interval"]
            cells += [f"{found[measure]:.2%}", f"{low:.2%} to {high:.2%}"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


PROGRAM = ScoreProgram(
    description="Phone and word error rates.",
    names_help="dictionaries in EXP/decode",
    summarize=summarize,
    table=table,
    headline=lambda result: f"PER {result['per']:.2%}, WER {result['wer']:.2%}",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
