"""A pronouncing dictionary from Festival's lexicon, to train `recipes/g2p` on and to fill up.

    apt install festlex-cmu
    python tools/festival_lexicon.py festival.dict
    recipes/g2p/run.sh --data festival.dict --exp exp/g2p
    python recipes/g2p/pronounce.py exp/g2p/model words.ngram train.jsonl words.dict \\
        --dictionary festival.dict --relatives

makes the dictionary of the package's model of phones.  Words have all pronunciations that Festival
has for any part of speech (READ, LIVE), those that its program adds (contractions) first; where the
lexicon, of 1995, is wrong about words that books are full of, festival_corrections.dict has them.

The lexicon is copyright 1996, 1997 of the Centre for Speech Technology Research, University of
Edinburgh, and may be used and distributed without restriction.

Reference: Black, Taylor and Caley, The Festival Speech Synthesis System, cstr.ed.ac.uk.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr.cli import run_program
from asr.errors import DependencyError, TextError
from asr.lexicon import Lexicon, read_lexicon, write_lexicon

FOLDER = Path("/usr/share/festival/dicts/cmu")
WORD = re.compile("'?[A-Z][A-Z']*")
SYLLABLES = r"\(\([a-z ]+\)\s*\d\)"
ENTRY = re.compile(rf'\("([^"]+)"\s+\S+\s+\(({SYLLABLES}(?:\s*{SYLLABLES})*)\)\)')
SYLLABLE = re.compile(r"\(\(([a-z ]+)\)\s*\d\)")
# Festival's program adds these, for a synthesiser: abbreviations, said in full.
MONTHS = ["JAN", "FEB", "MAR", "APR", "JUN", "JUL", "AUG", "SEP", "SEPT", "OCT", "NOV", "DEC"]
NOT_SAID = frozenset([*MONTHS, "MRS", "MR", "DR", "LTD", "EST", "AVE"])
# Said in another way when not stressed, or by other people.
ALSO = {
    "THE": "DH IY", "A": "EY", "AND": "AX N D", "FOR": "F ER", "AN": "AX N",
    "YOUR": "Y ER", "OR": "ER", "CAN": "K AX N", "THAT": "DH AX T", "HIM": "IH M", "HER": "ER",
    "HAVE": "AX V", "EITHER": "AY DH ER", "NEITHER": "N AY DH ER", "MISSUS": "M IH S AX S",
    "BEFORE": "B IH F AO R", "DOES": "D OW Z",
    "FRENCHMEN": "F R EH N CH M EH N",
    "SUGGEST": "S AX JH EH S T", "SUGGESTED": "S AX JH EH S T AX D", "EXTREME": "EH K S T R IY M",
    "EXTREMELY": "EH K S T R IY M L IY", "ESSENTIAL": "EH S EH N SH AX L",
    "PERSONAL": "P ER S N AX L", "EVERY": "EH V ER IY", "THITHER": "TH IH DH ER",
}  # fmt: skip
CORRECTIONS = Path(__file__).with_name("festival_corrections.dict")

Phones = tuple[str, ...]


def read_entries(path: Path) -> Iterator[tuple[str, Phones]]:
    """Words and pronunciations of a file of Festival's, lexicon or program.

    Raises:
        DependencyError: It is not there.
        TextError: There is none in it.
    """
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise DependencyError(
            f"{path}: cannot be read ({error.strerror}); apt install festlex-cmu, or name its "
            "folder with --festival"
        ) from None
    found = ENTRY.findall(text)
    if not found:
        raise TextError(f"{path}: no entry of a lexicon in it; Festival's cmulex is needed")
    for word, syllables in found:
        yield word.upper(), tuple(" ".join(SYLLABLE.findall(syllables)).upper().split())


def festival_lexicon(folder: Path) -> Lexicon:
    """All words of Festival's lexicon, corrected."""
    entries: dict[str, list[Phones]] = {}
    added = {word: phones for word, phones in read_entries(folder / "cmulex.scm")}
    own = list(read_entries(folder / "cmudict-0.4.out"))
    right = read_lexicon(CORRECTIONS)
    pairs = [(word, phones) for word in right.words for phones in right.pronunciations(word)]
    pairs += [(word, phones) for word, phones in added.items() if word not in NOT_SAID]
    pairs += [(word, phones) for word, phones in own if not right.pronunciations(word)]
    pairs += [(word, tuple(phones.split())) for word, phones in ALSO.items()]
    for word, phones in pairs:
        known = entries.setdefault(word, [])
        if WORD.fullmatch(word) and phones not in known:
            known.append(phones)
    return Lexicon({word: entries[word] for word in sorted(entries) if entries[word]})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path, help="dictionary to write, perhaps .gz")
    parser.add_argument(
        "--festival", type=Path, default=FOLDER, metavar="FOLDER", help=f"festlex-cmu ({FOLDER})"
    )
    arguments = parser.parse_args(argv)
    return run_program("festival_lexicon", lambda: write(arguments.festival, arguments.output))


def write(folder: Path, output: Path) -> int:
    lexicon = festival_lexicon(folder)
    write_lexicon(lexicon, output)
    print(f"{output}: {len(lexicon.words):,} words, {len(lexicon.phones)} phones")
    return 0


if __name__ == "__main__":
    sys.exit(main())
