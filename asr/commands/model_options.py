"""The options of commands that run a model, and the model that they ask for."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from asr.errors import ConfigError

if TYPE_CHECKING:
    from asr.config import DecodingConfig
    from asr.transcribe import Transcriber

__all__ = [
    "add_decoding_options",
    "add_model_options",
    "load_recognizer",
    "load_transcriber",
    "read_decoding",
]

# What options say, by the names that the configuration has for it.
_NAMES = (
    *("lm", "neural", "lexicon", "hotwords"),
    *("alpha", "beta", "gamma", "prior_scale", "unknown_score"),
    *("beam", "score_threshold", "rescore"),
)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `load_transcriber` reads."""
    parser.add_argument(
        "--model",
        default="default",
        help="'default', 'characters' or another model of the package, or a model folder "
        "(default: default)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)"
    )
    parser.add_argument(
        "--batch-seconds",
        metavar="S",
        type=float,
        help="audio in a batch; less needs less memory (default: 160, on a GPU 640)",
    )
    parser.add_argument(
        "--views",
        metavar="N",
        type=int,
        help="times that each recording is heard, a little different each time, 1 to 4: slower, "
        "better (default: as decoding.toml says, else 1)",
    )
    parser.add_argument(
        "--threads", metavar="N", type=int, help="CPU threads (default: one per core)"
    )


def add_decoding_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the beam search, which `load_transcriber` reads."""
    group = parser.add_argument_group(
        "decoding",
        "Any of these asks for a beam search, with the rest as the model's decoding.toml says "
        "(`asr tune` writes it).  Without them, and without that file, decoding is greedy.",
    )
    group.add_argument(
        "--greedy", action="store_true", help="the best path, without a language model"
    )
    group.add_argument(
        "--decoding",
        metavar="NAME",
        help="another decoding of the model's (default model: lstm), or a decoding.toml",
    )
    group.add_argument("--beam", metavar="N", type=int, help="prefixes kept (default: 50)")
    group.add_argument(
        "--score-threshold",
        metavar="X",
        type=float,
        help="prefixes so far below the best are dropped (default: 15)",
    )
    group.add_argument("--lm", metavar="FILE", help="n-gram model: table or ARPA")
    group.add_argument("--alpha", metavar="X", type=float, help="its weight (default: 0.5)")
    group.add_argument("--beta", metavar="X", type=float, help="score of a word (default: 1)")
    group.add_argument("--neural", metavar="FOLDER", help="neural language model (`lm train`)")
    group.add_argument("--gamma", metavar="X", type=float, help="its weight (default: 0.3)")
    group.add_argument(
        "--rescore",
        action=argparse.BooleanOptionalAction,
        help="the neural model only reorders the 100 best hypotheses",
    )
    group.add_argument(
        "--prior-scale",
        metavar="X",
        type=float,
        help="part of how common each token is that is taken off what is heard (default: 0)",
    )
    group.add_argument("--lexicon", metavar="FILE", help="word list (default: the n-gram's words)")
    group.add_argument(
        "--unknown-score",
        metavar="X",
        type=float,
        help="score of a word outside the lexicon, as -5 (default: there are none)",
    )
    group.add_argument(
        "--hotwords",
        metavar="FILE",
        help="phrases, names above all, one a line; a bonus may follow after a tab",
    )


def load_transcriber(arguments: argparse.Namespace, *, n_best: int = 1) -> "Transcriber":
    """Load the model that the options name, and what decodes it."""
    decoding = read_decoding(arguments)
    if n_best > 1 and decoding is None:
        raise ConfigError(f"--nbest {n_best}: greedy decoding has one hypothesis; add --beam 50")
    return _load(arguments, decoding, n_best, arguments.views)


def load_recognizer(arguments: argparse.Namespace, *, n_views: int | None = None) -> "Transcriber":
    """Load the model that the options name, decoding greedily.

    Args:
        arguments: the options.
        n_views: times that each recording is heard, where the options do not say.
    """
    given = arguments.views
    return _load(arguments, None, 1, n_views if given is None else given)


def _load(
    arguments: argparse.Namespace,
    decoding: "DecodingConfig | None",
    n_best: int,
    n_views: int | None,
) -> "Transcriber":
    if arguments.threads is not None and arguments.threads < 1:
        raise ConfigError(f"--threads {arguments.threads}: 1 or more is needed")
    if arguments.batch_seconds is not None and not 1 <= arguments.batch_seconds < float("inf"):
        raise ConfigError(f"--batch-seconds {arguments.batch_seconds}: 1 or more is needed")
    import torch

    from asr.transcribe import load

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return load(
        arguments.model,
        arguments.device,
        batch_seconds=arguments.batch_seconds,
        decoding=decoding or "greedy",
        n_best=n_best,
        n_views=n_views,
    )


def read_decoding(arguments: argparse.Namespace) -> "DecodingConfig | None":
    """Return how to decode; None for greedy decoding."""
    from asr.model_folders import DECODING_FILE, find_decoding, find_model

    given: dict[str, Any] = {
        name: value for name in _NAMES if (value := getattr(arguments, name, None)) is not None
    }
    own = getattr(arguments, "decoding", None)
    if getattr(arguments, "greedy", False):
        if own:
            raise ConfigError("--greedy takes no --decoding")
        if given:
            raise ConfigError(f"--greedy takes no --{next(iter(given)).replace('_', '-')}")
        return None
    folder = find_model(arguments.model)
    path = find_decoding(folder, own) if own else folder / DECODING_FILE
    if not given and not own and not path.exists():
        return None
    from asr.config import DECODING_FILES, DecodingConfig, load_decoding
    from asr.toml_config import Override, parse_toml

    overrides: list[Override] = [
        (name, os.path.abspath(value) if name in DECODING_FILES else value)
        for name, value in given.items()
    ]
    if not own and not path.exists():
        return parse_toml(DecodingConfig, "", source="options", overrides=overrides)
    return load_decoding(path, overrides)
