"""How often each network is right, as EXP/score.json and as a table.

    python recipes/captions/score.py EXP plain convolutions captions attention
    python recipes/captions/score.py --table EXP --readme recipes/captions/README.md

"exact_match" in score.json is that of the last model on pairs that it never saw together.  The
second form prints the table of an earlier score.json and writes it to where the README has the
last one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from networks import ONE_TO_ONE, Captioner, CaptionsConfig, Classifier
from pictures import choices
from train import is_wrong, load_network, make_batch, right_captions

from asr.checkpoint import read_json
from asr.errors import ConfigError
from asr.recipe_programs import ScoreProgram, describe_machine, run_score

__all__ = ["Match", "main", "measure", "summarize", "table"]

TESTS = ("known", "new pairs", "new things")
_PICTURES_AT_A_TIME = 250


class Match(NamedTuple):
    """Of how many fresh pictures, as a fraction, a network says exactly what is right.

    Attributes:
        all: of all pictures.
        inside: of those in which one thing is inside the other; None where there are none.
        beside: of the others.
    """

    all: float
    inside: float | None
    beside: float | None


def measure(
    network: Classifier | Captioner, config: CaptionsConfig, model: str, test: str
) -> Match:
    """Let a network say what is in fresh pictures.

    Args:
        network: in eval mode.
        config: what it was trained with.
        model: one of `networks.MODELS`.
        test: one of TESTS, see `pictures.choices`.
    """
    pictures = config.pictures
    choice = choices(pictures.held_out_pairs, pictures.held_out_things, config.seed)[test]
    n_left, number = pictures.n_test, 0
    is_right: list[bool] = []
    is_inside: list[bool] = []
    while n_left:
        size = min(n_left, _PICTURES_AT_A_TIME)
        seed = (config.seed, 2, TESTS.index(test), number)
        batch = make_batch(config, model, choice, size, seed)
        is_right += (~is_wrong(network, batch)).tolist()
        is_inside += ["around" in caption for caption in right_captions(batch)]
        n_left, number = n_left - size, number + 1
    inside, beside = (
        [r for r, i in zip(is_right, is_inside, strict=True) if i == w] for w in (1, 0)
    )
    return Match(mean(is_right), *(mean(part) if part else None for part in (inside, beside)))


def summarize(exp: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        ConfigError: no model is named.
        CheckpointError: a model was not trained.
    """
    if not names:
        raise ConfigError("nothing to score: name the models in EXP")
    models: dict[str, Any] = {}
    for name in names:
        config, network = load_network(exp, name)
        # Who never saw a green triangle alone has no name for it to choose.
        tests = TESTS[:1] if name in ONE_TO_ONE else TESTS
        matches = {test: measure(network, config, name, test) for test in tests}
        models[name] = {
            "n_test": config.pictures.n_test,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "updates": read_json(exp / name / "best" / "metrics.json")["step"],
            "exact_match": {test: match.all for test, match in matches.items()},
            "inside": {test: match.inside for test, match in matches.items()},
            "beside": {test: match.beside for test, match in matches.items()},
            "training_cpu_seconds": int((exp / name / "seconds").read_text().split()[1]),
        }
    return {
        "exact_match": models[names[-1]]["exact_match"].get("new pairs"),
        "models": models,
        "machine": describe_machine(),
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    first = next(iter(result["models"].values()))
    rows = [
        f"{first['n_test']:,} fresh pictures a test; on {result['machine']}.",
        "",
        "| shape | network | parameters | known | pairs never seen together "
        "| of these, side by side | one inside the other | colour of a shape never seen "
        "| updates, CPU time |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in result["models"].items():
        shape = "one to one" if name in ONE_TO_ONE else "one to many"
        known, new_pairs, new_things = TESTS
        figures = [found["exact_match"].get(known)]
        figures += [found[part].get(new_pairs) for part in ("exact_match", "beside", "inside")]
        figures.append(found["exact_match"].get(new_things))
        cells = ["" if figure is None else f"{figure:.2%}" for figure in figures]
        rows.append(
            f"| {shape} | {name} | {found['parameters']:,} | {' | '.join(cells)} "
            f"| {found['updates']:,}, {found['training_cpu_seconds']:,} s |"
        )
    return "\n".join(rows)


PROGRAM = ScoreProgram(
    description="How often each network is right.",
    names_help="models in EXP",
    summarize=summarize,
    table=table,
    headline=lambda result: (
        "nothing captioned" if result["exact_match"] is None
        else f"exact match {result['exact_match']:.2%} on pairs never seen together"
    ),
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
