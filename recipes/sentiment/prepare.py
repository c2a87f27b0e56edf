"""Parts of every set as CSV, the text of the language model, word pieces for the LSTMs.

    python recipes/sentiment/prepare.py CONF DATA EXP

writes EXP/data/SET/{train,dev,test}.csv, EXP/data/SET/tokenizer and, where a run of CONF fine-tunes
a language model, EXP/data/lm.txt.  The sets that the language model reads share their word pieces.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cleaning import clean, fold
from sentiment_config import SentimentConfig
from sentiment_data import Parts, read_set, same_text, write_part

from asr.cli import run_program
from asr.errors import ConfigError
from asr.text import Tokenizer, train_sentencepiece
from asr.toml_config import load_toml

__all__ = ["learn_pieces", "main", "training_texts"]

# Rarer characters are no pieces: most are emoji that stand in one text alone.
_MIN_CHARACTER = 3


def learn_pieces(texts: Sequence[str], n_pieces: int) -> Tokenizer:
    """Learn word pieces from folded texts, without their rarest characters."""
    counts = Counter("".join(texts))
    rare = str.maketrans("", "", "".join(c for c, n in counts.items() if n < _MIN_CHARACTER))
    return train_sentencepiece([text.translate(rare) for text in texts], n_pieces)


def training_texts(sets: Sequence[Parts], config: SentimentConfig) -> list[str]:
    """Return the folded texts to train on, each once, without any that is held out somewhere."""
    held_out = {same_text(e.text) for parts in sets for e in (*parts.dev, *parts.test)}
    link, user = config.text.link, config.text.user
    texts = (
        fold(clean(example.text, link=link, user=user))
        for parts in sets
        for example in parts.train
        if same_text(example.text) not in held_out
    )
    return [text for text in dict.fromkeys(texts) if text]


def prepare(config: SentimentConfig, data: Path, folder: Path) -> None:
    """Do the work."""
    if not config.runs:
        raise ConfigError("runs: empty; name sets and their models, as ajgt = ['lstm']")
    uses_lm = any("ulmfit" in models for models in config.runs.values())
    shared = config.lm.sets if uses_lm else []
    for name, models in config.runs.items():
        if "ulmfit" in models and name not in shared:
            raise ConfigError(f"runs.{name}: ulmfit needs the set in lm.sets, which is {shared}")
    sets: dict[str, Parts] = {}
    for name in dict.fromkeys([*config.runs, *shared]):
        sets[name] = parts = _limited(
            read_set(name, data, config.csv), config.preparation.limit.get(name)
        )
        for part in ("train", "dev", "test"):
            write_part(folder / name / f"{part}.csv", getattr(parts, part))
        _check_labels(name, parts)
        print(
            f"{name}: {len(parts.train):,} texts to train on, {len(parts.dev):,} dev, "
            f"{len(parts.test):,} test, {len({e.label for e in parts.train})} labels",
            flush=True,
        )
    groups = [[name] for name in config.runs if name not in shared]
    for names in filter(None, [shared, *groups]):
        texts = training_texts([sets[name] for name in names], config)
        tokenizer = learn_pieces(texts, config.preparation.n_pieces)
        for name in names:
            (folder / name / "tokenizer").mkdir(exist_ok=True)
            tokenizer.save(folder / name / "tokenizer")
        if names is shared:
            _write_language_model_text(texts, tokenizer, folder)


def _write_language_model_text(texts: Sequence[str], tokenizer: Tokenizer, folder: Path) -> None:
    unknown = str.maketrans("", "", "".join(tokenizer.unknown("".join(texts))))
    lines = [" ".join(text.translate(unknown).split()) for text in texts]
    (folder / "lm.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    n_words = sum(len(line.split()) for line in lines)
    print(f"lm.txt: {len(lines):,} texts, {n_words:,} words, {tokenizer.n_tokens:,} pieces")


def _limited(parts: Parts, limit: int | None) -> Parts:
    if limit is None:
        return parts
    # Spread over the part: it may be sorted by label.
    return Parts(
        *(part[:: -(-len(part) // limit)] for part in (parts.train, parts.dev, parts.test))
    )


def _check_labels(name: str, parts: Parts) -> None:
    labels = {example.label for example in parts.train}
    for part in ("train", "dev", "test"):
        examples = getattr(parts, part)
        if not examples:
            raise ConfigError(f"{name}: no text in the part {part}; more rows are needed")
        if strange := {example.label for example in examples} - labels:
            raise ConfigError(f"{name}: no text to train on has the label {min(strange)!r}")
    if len(labels) < 2:
        raise ConfigError(f"{name}: all texts have the label {min(labels)!r}; two are needed")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Split the sets and learn word pieces.")
    parser.add_argument("conf", type=Path, help="TOML file, see conf/")
    parser.add_argument("data", type=Path, help="folder with the folders of the sets")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)

    def run() -> int:
        config = load_toml(SentimentConfig, arguments.conf, arguments.overrides)
        prepare(config, arguments.data, arguments.exp / "data")
        return 0

    return run_program("prepare", run)


if __name__ == "__main__":
    sys.exit(main())
