"""Error rates of all models, as EXP/score.json and as the table of the README.

    python recipes/digits/score.py EXP seed-0 seed-1 seed-2 without-george connected
    python recipes/digits/score.py --table EXP --readme recipes/digits/README.md

reads EXP/decode/MODEL.jsonl, where it is there EXP/decode/words-MODEL.jsonl (decoded with the ten
words as lexicon), and where it is there EXP/MODEL/seconds (of the training, and of
its CPU time).
"wer" in score.json is the mean of the models named seed-N.  The second form prints the table of an
earlier score.json and writes it to where the README has the last one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.errors import ConfigError
from asr.metrics import score
from asr.recipe_programs import ScoreProgram, machine_facts, run_score, training_seconds
from asr.transcripts import TranscriptLine, read_transcripts

__all__ = ["main", "summarize", "table"]

Pair = tuple[list[TranscriptLine], list[TranscriptLine]]


def read_pair(path: Path) -> Pair:
    """Return the references and the hypotheses of a file of `asr evaluate --output`."""
    return read_transcripts(path, is_reference=True), read_transcripts(path, is_reference=False)


def figures(*pairs: Pair) -> dict[str, Any]:
    """Return the figures of one model, or of several taken together."""
    result = score(
        [line.text for references, _ in pairs for line in references],
        [line.text for _, hypotheses in pairs for line in hypotheses],
        speakers=[line.speaker for references, _ in pairs for line in references],
    )
    return {
        "wer": result.wer,
        "interval": result.interval,
        "interval_over": result.interval_over,
        "n_words": result.n_words,
        "errors": result.substitutions + result.insertions + result.deletions,
    }


def summarize(exp: Path, models: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        ConfigError: no model of the official split is among them.
        ManifestError: a model was not decoded.
    """
    pairs = {name: read_pair(exp / "decode" / f"{name}.jsonl") for name in models}
    seeds = {name: pair for name, pair in pairs.items() if name.startswith("seed-")}
    left_out = {name: pair for name, pair in pairs.items() if name.startswith("without-")}
    if not seeds:
        raise ConfigError("no model named seed-N, whose mean is the result")
    # Each seed has the same words, so that the rate of all together is the mean.
    official = figures(*seeds.values())
    result: dict[str, Any] = {"wer": official["wer"], "official": official}
    if left_out:
        result["loso"] = figures(*left_out.values())
    words = {name: exp / "decode" / f"words-{name}.jsonl" for name in models}
    words = {name: path for name, path in words.items() if path.exists()}
    if of_seeds := [read_pair(path) for name, path in words.items() if name in seeds]:
        result["official_lexicon"] = figures(*of_seeds)
    if "connected" in words:
        result["connected_lexicon"] = figures(read_pair(words["connected"]))
    result["models"] = {name: figures(pair) for name, pair in pairs.items()}
    for name, found in result["models"].items():
        found.update(training_seconds(exp / name))
    result["machine"] = machine_facts()
    return result


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    models = result["models"]
    machine = result["machine"]
    rows = [f"On {machine['cores']} {machine['processor']} cores, torch {machine['torch']}.", ""]
    rows += ["| test | WER | errors / words | training (CPU time) |", "|---|---|---|---|"]

    def row(name: str, found: dict[str, Any]) -> str:
        times = ""
        if "training_seconds" in found:
            times = f"{found['training_seconds']} s ({found['training_cpu_seconds']} s)"
        return (
            f"| {name} | {found['wer']:.2%} | {found['errors']:,} / {found['n_words']:,} "
            f"| {times} |"
        )

    n_seeds = sum(name.startswith("seed-") for name in models)
    low, high = result["official"]["interval"]
    mean = f"**official split, mean of {n_seeds} seeds** (95 % {low:.2%} to {high:.2%})"
    rows.append(row(mean, result["official"]))
    rows += [row(f"official split, {n}", f) for n, f in models.items() if n.startswith("seed-")]
    if "official_lexicon" in result:
        rows.append(row("official split, mean, the ten words alone", result["official_lexicon"]))
    if "loso" in result:
        low, high = result["loso"]["interval"]
        mean = f"**speaker left out, all together** (95 % {low:.2%} to {high:.2%})"
        rows.append(row(mean, result["loso"]))
    for name, found in models.items():
        if name.startswith("without-"):
            rows.append(row(f"trained {name.replace('-', ' ')}", found))
        elif name == "connected":
            low, high = found["interval"]
            rows.append(row(f"**connected digits** (95 % {low:.2%} to {high:.2%})", found))
    if "connected_lexicon" in result:
        rows.append(row("connected digits, the ten words alone", result["connected_lexicon"]))
    return "\n".join(rows)


PROGRAM = ScoreProgram(
    description="Error rates of all models.",
    names_help="names of the models",
    summarize=summarize,
    table=table,
    headline=lambda result: f"WER {result['wer']:.2%}",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
