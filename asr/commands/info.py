"""`asr info`: what a model folder holds."""

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["HELP", "configure", "run"]

HELP = "show what a model is: units, size, data, figures"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", nargs="?", default="default", help="'default' or a model folder")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the facts of a model."""
    from asr.checkpoint import read_json
    from asr.model_folders import DECODING_FILE, find_decodings, find_model
    from asr.models.recognizer import Recognizer

    folder = find_model(arguments.model)
    recognizer = Recognizer.load(folder)
    config = recognizer.config
    model, features = config.model, config.features
    parts = {
        "subsampling": recognizer.network.subsampling,
        "recurrent layers": recognizer.network.stack,
        "output": recognizer.network.output,
    }
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    facts = {
        "folder": str(folder),
        "features": f"{recognizer.extractor.n_features} x {features.kind}, "
        f"{features.normalization} normalisation, every {features.hop_ms:g} ms",
        "architecture": f"x{model.subsampling} subsampling, {model.n_layers} x bidirectional "
        f"{model.cell} of {model.hidden_size}",
        "parameters": sum(sizes.values()),
        **{f"parameters, {name}": size for name, size in sizes.items()},
        "weights_bytes": (folder / "model.safetensors").stat().st_size,
        "tokens": recognizer.tokenizer.n_tokens,
        "frame_seconds": recognizer.frame_seconds,
        "decoding": _describe(folder / DECODING_FILE),
        **{f"--decoding {name}": _describe(path) for name, path in find_decodings(folder).items()},
        "--greedy": "best path"
        + ("" if recognizer.label_log_probs is None else ", with the trigram of its labels"),
    }
    metrics = read_json(folder / "metrics.json")
    if arguments.json:
        print(json.dumps({**facts, **metrics, "symbols": recognizer.tokenizer.symbols}, indent=2))
        return 0
    figures = metrics.pop("figures", {})
    facts |= metrics
    width = max(map(len, facts))
    for name, value in facts.items():
        print(
            f"{name:{width}}  {value:,}" if isinstance(value, int) else f"{name:{width}}  {value}"
        )
    _print_error_rates(figures)
    card = folder / "MODEL_CARD.md"
    if card.exists():
        print(f"{'model card':{width}}  {card}")
    return 0


def _print_error_rates(figures: dict[str, dict[str, Any]]) -> None:
    """Print what `tools/ship_model.py` keeps of evaluations, a line each."""
    for name, result in figures.items():
        within = "({:.1%} to {:.1%})".format(*result["interval"]) if result["interval"] else ""
        print(f"WER {result['wer']:6.1%} {within:17} {name}")


def _describe(path: Path) -> str:
    from asr.config import DecodingConfig
    from asr.toml_config import load_toml

    if not path.exists():
        return "greedy"
    decoding = load_toml(DecodingConfig, path)
    models = [f"{decoding.lm} (alpha {decoding.alpha:g})"] if decoding.lm else []
    models += [f"{decoding.neural} (gamma {decoding.gamma:g})"] if decoding.neural else []
    return f"beam of {decoding.beam}, {' and '.join(models) or 'no language model'}"
