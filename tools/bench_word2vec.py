"""recipes/word2vec against gensim: speed, and vectors for the same tests.

    python3 -m venv .data/peers/gensim && .data/peers/gensim/bin/pip install gensim     # once
    python tools/bench_word2vec.py EXP --conf recipes/word2vec/conf/full.toml \
        --peer .data/peers/gensim/bin/python

EXP holds the text that the recipe's stage prepare made.  The models are trained turn by turn with
the same settings and threads, so that other load hits both alike: ours by the recipe's train.py
into EXP/NAME, gensim's into EXP/gensim-NAME.  What is there already is not trained again.  The
recipe's stages evaluate and score then take both into their tables.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from asr.checkpoint import read_json, write_json
from asr.cli import run_program
from asr.errors import ConfigError
from asr.toml_config import load_toml

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "word2vec"
PEER = Path(__file__).with_name("word2vec_peer.py")

sys.path.insert(0, str(RECIPE))
from encoded_text import EncodedText, load_text  # noqa: E402
from word2vec_config import MODELS, Word2vecConfig  # noqa: E402
from word_vectors import WordVectors  # noqa: E402


def peer_options(name: str, config: Word2vecConfig) -> dict[str, Any]:
    """The same settings by gensim's names."""
    settings, training = config.model, config.training
    bags = MODELS[name].bags
    if bags and settings.cbow_gradient != "sum":
        raise ConfigError('gensim gives the bag the whole gradient: set model.cbow_gradient="sum"')
    return {
        "vector_size": settings.size,
        "window": settings.window,
        # The rare words are out of the text.
        "min_count": 1,
        "sample": settings.sample,
        "negative": settings.negatives,
        "hs": 0,
        "sg": int(not bags),
        "cbow_mean": 1,
        "alpha": training.cbow_learning_rate if bags else training.learning_rate,
        "min_alpha": training.final_learning_rate,
        "epochs": training.epochs,
        "workers": training.threads,
        "seed": config.seed + 1,
    }


def write_text(text: EncodedText, path: Path) -> None:
    """Write the training sentences, one a line."""
    words, starts = text.words, text.training.starts.tolist()
    with path.open("w", encoding="utf-8") as file:
        for begin, end in pairwise(starts):
            line = [words[token] for token in text.training.tokens[begin:end].tolist()]
            file.write(" ".join(line) + "\n")


def train_ours(arguments: argparse.Namespace, name: str) -> None:
    """Run the recipe's own program."""
    command = [sys.executable, RECIPE / "train.py", arguments.conf, arguments.exp]
    options = [*arguments.overrides, f'models=["{name}"]']
    flags = [part for option in options for part in ("--set", option)]
    subprocess.run([*command, *flags], check=True)


def train_peer(
    arguments: argparse.Namespace, config: Word2vecConfig, text: EncodedText, name: str
) -> None:
    """Train gensim's model, keep its vectors and how long it took."""
    folder = arguments.exp / f"gensim-{name}"
    if (folder / "metrics.json").exists():
        return
    with tempfile.TemporaryDirectory() as temporary:
        lines, vectors = Path(temporary, "text"), Path(temporary, "vectors")
        write_text(text, lines)
        settings = Path(temporary, "settings.json")
        write_json(
            settings,
            {
                "text": str(lines),
                "output": str(vectors),
                "options": peer_options(name, config),
            },
        )
        done = subprocess.run(
            [arguments.peer, PEER, settings], check=True, stdout=subprocess.PIPE, text=True
        )
        WordVectors.load(vectors).save(folder)
    figures = {**read_json(arguments.exp / name / "metrics.json"), **json.loads(done.stdout)}
    del figures["held_out"]
    write_json(folder / "metrics.json", figures)


def bench(arguments: argparse.Namespace) -> int:
    """Train and compare."""
    config = load_toml(Word2vecConfig, arguments.conf, arguments.overrides)
    text = load_text(arguments.exp / "text")
    for name in arguments.models:
        train_ours(arguments, name)
        train_peer(arguments, config, text, name)
        for kind in (name, f"gensim-{name}"):
            found = read_json(arguments.exp / kind / "metrics.json")
            n_words = found["words"] * found["epochs"]
            print(
                f"{kind}: {n_words / found['seconds']:,.0f} words/s by {found['threads']} threads, "
                f"{n_words / found['cpu_seconds']:,.0f} words a CPU second",
                flush=True,
            )
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exp", type=Path, help="experiment folder with the text")
    parser.add_argument("--conf", type=Path, default=RECIPE / "conf" / "full.toml")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    parser.add_argument("--peer", default="python3", help="a Python that has gensim")
    parser.add_argument("--models", nargs="+", default=["skipgram", "cbow"])
    arguments = parser.parse_args()
    return run_program("bench_word2vec", lambda: bench(arguments))


if __name__ == "__main__":
    sys.exit(main())
