"""Makes tests/golden/lm: a small text, and what KenLM's lmplz and build_binary make of it.

    tools/build_lmplz.sh && python tools/make_lm_golden.py

The text is drawn from a made-up language in which some words follow others often, so that
the n-gram counts fall off as those of real text do.
"""

import gzip
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from asr.errors import DependencyError
from lm.lmplz import find_lmplz

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden" / "lm"

# Name of the ARPA file and the options that made it; tests/test_lm_kneser_ney.py reads them.
CASES: dict[str, list[str]] = {
    "order-1": ["-o", "1"],
    "order-3": ["-o", "3"],
    "order-5": ["-o", "5", "--discount_fallback"],
    "pruned": ["-o", "3", "--prune", "0", "1", "2"],
    "vocabulary": ["-o", "4", "--limit_vocab_file", "VOCABULARY", "--prune", "0", "0", "1"],
    "unknown": ["-o", "2", "--interpolate_unigrams", "0"],
}


def make_text(n_sentences: int = 400, n_words: int = 900, seed: int = 20) -> list[str]:
    """Sentences of a Markov chain over Zipf-distributed words."""
    chance = random.Random(seed)
    syllables = ["BA", "DO", "KI", "LU", "MEN", "RA", "SO", "TI", "VE", "NU"]
    words = sorted(
        {"".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(9999)}
    )
    words = chance.sample(words, n_words)
    weights = [1 / (rank + 2) for rank in range(n_words)]
    followers = {word: chance.choices(words, weights, k=4) for word in words}
    lines: list[str] = []
    for _ in range(n_sentences):
        line = chance.choices(words, weights)
        while chance.random() > 0.13:
            favoured = chance.random() < 0.55
            line += (
                [chance.choice(followers[line[-1]])] if favoured else chance.choices(words, weights)
            )
        lines.append(" ".join(line))
    # What an estimator may get wrong: an empty sentence, spare blanks, a tab.
    lines[100] = ""
    lines[200] = f"  {lines[200]}   "
    lines[300] = lines[300].replace(" ", "\t")
    return lines


def main() -> None:
    """Write the text, the word list, an ARPA file of each case and one KenLM binary."""
    lines = make_text()
    words = sorted({word for line in lines for word in line.split()})
    vocabulary = [*words[::2], "NOWHERE"]
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    (FOLDER / "text.txt").write_text(text, encoding="utf-8")
    (FOLDER / "vocabulary.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (FOLDER / "cases.json").write_text(json.dumps(CASES, indent=1) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder, "model.arpa")
        for name, options in CASES.items():
            given = [
                str(FOLDER / "vocabulary.txt") if option == "VOCABULARY" else option
                for option in options
            ]
            command = [find_lmplz(), "-S", "256M", "-T", f"{folder}/", *given]
            made = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
            if made.returncode:
                sys.exit(made.stderr.decode())
            (FOLDER / f"{name}.arpa.gz").write_bytes(gzip.compress(made.stdout, 9, mtime=0))
            if name == "pruned":
                arpa.write_bytes(made.stdout)
                binary = FOLDER / "pruned.binary"
                build = Path(find_lmplz()).with_name("build_binary")
                subprocess.run([build, "trie", arpa, binary], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    try:
        main()
    except DependencyError as error:
        sys.exit(str(error))
