"""A pronouncing dictionary by Festival: its lexicon, and its letter-to-sound rules for the rest.

    apt install festival festlex-cmu
    python tools/festival_lexicon.py words.ngram train.jsonl words.dict

makes the dictionary of the package's model of phones.  The words are those of word lists,
manifests and n-gram models.  Possessives that Festival does not have are its word and 's; other
words with apostrophes are said without them.  Some function words get a second pronunciation,
since Festival gives each but one.

The lexicon is copyright 1996, 1997 of the Centre for Speech Technology Research, University of
Edinburgh, and may be used and distributed without restriction.

Reference: Black, Taylor and Caley, The Festival Speech Synthesis System, cstr.ed.ac.uk.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from asr.cli import run_program
from asr.errors import DependencyError
from asr.lexicon import Lexicon, write_lexicon
from asr.word_lists import read_word_lists

PROGRAM = """(lex.select "cmu")
(define (look word)
  (let ((entry (lex.lookup word nil)))
    (format t "%s" word)
    (mapcar
      (lambda (syllable) (mapcar (lambda (phone) (format t " %s" phone)) (car syllable)))
      (car (cdr (cdr entry))))
    (format t "\\n")))
"""
# Festival slows down with what it has read.
WORDS_AT_ONCE = 1000
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
SIBILANTS = frozenset(["S", "Z", "SH", "ZH", "CH", "JH"])
VOICELESS = frozenset(["P", "T", "K", "F", "TH"])
SECOND = {
    **{"THE": "DH IY", "A": "EY", "TO": "T UW", "AND": "AX N D", "FOR": "F ER", "AN": "AX N"},
    **{"YOUR": "Y ER", "OR": "ER", "CAN": "K AX N", "THAT": "DH AX T", "HIM": "IH M"},
    **{"HER": "ER", "HAVE": "AX V", "EITHER": "AY DH ER", "NEITHER": "N AY DH ER"},
}

Phones = tuple[str, ...]


def look_up(words: Sequence[str]) -> dict[str, Phones]:
    """What Festival says of each word, nothing of some with apostrophes."""
    found: dict[str, Phones] = {}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "look.scm"
        for start in range(0, len(words), WORDS_AT_ONCE):
            part = words[start : start + WORDS_AT_ONCE]
            calls = "".join(f'(look "{word.lower()}")\n' for word in part)
            program.write_text(PROGRAM + calls, encoding="utf-8")
            try:
                done = subprocess.run(
                    ["festival", "-b", str(program)], capture_output=True, text=True, check=False
                )
            except FileNotFoundError:
                raise DependencyError("needs Festival: apt install festival festlex-cmu") from None
            lines = done.stdout.upper().splitlines()
            if len(lines) != len(part):
                raise DependencyError(
                    f"Festival gave {len(lines)} lines for {len(part)} words "
                    f"({' '.join(done.stderr.split())[:200]}); apt install festlex-cmu"
                )
            found |= {word: tuple(line.split()[1:]) for word, line in zip(part, lines, strict=True)}
    return found


def possessive(phones: Phones) -> Phones:
    """The phones of a word with 's."""
    if phones[-1] in SIBILANTS:
        return (*phones, "IH", "Z")
    return (*phones, "S" if phones[-1] in VOICELESS else "Z")


def pronounce(words: Sequence[str]) -> dict[str, list[Phones]]:
    """The pronunciations of words of letters and apostrophes; those without are left out."""
    found = look_up(words)
    silent = [word for word in words if not found[word]]
    parts = {word: word.removesuffix("'S").replace("'", "") for word in silent}
    whole = {word: word.replace("'", "") for word in silent}
    said = look_up(sorted({*parts.values(), *whole.values()} - {""}))
    for word in silent:
        if word.endswith("'S") and said.get(parts[word]):
            found[word] = possessive(said[parts[word]])
        else:
            found[word] = said.get(whole[word], ())
    entries = {word: [found[word]] for word in words if found[word]}
    for word, phones in SECOND.items():
        if word in entries and tuple(phones.split()) not in entries[word]:
            entries[word].append(tuple(phones.split()))
    return entries


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("words", type=Path, nargs="+", help="lists, manifests, n-gram models")
    parser.add_argument("output", type=Path, help="dictionary to write, perhaps .gz")
    arguments = parser.parse_args(argv)
    return run_program("festival_lexicon", lambda: write(arguments.words, arguments.output))


def write(paths: Sequence[Path], output: Path) -> int:
    words = [word for word in read_word_lists(paths) if LETTERS.issuperset(word)]
    lexicon = Lexicon(pronounce(words))
    write_lexicon(lexicon, output)
    print(f"{output}: {len(lexicon.words):,} of {len(words):,} words, {len(lexicon.phones)} phones")
    return 0


if __name__ == "__main__":
    sys.exit(main())
