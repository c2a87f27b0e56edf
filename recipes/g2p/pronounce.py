"""Write pronunciations for a list of words.

    python recipes/g2p/pronounce.py MODEL WORDS... OUTPUT [--dictionary cmudict.dict]

MODEL is an experiment or model folder.  WORDS is a text with a word a line (what stands behind a
word is ignored, so that a dictionary is a list of words, too), a manifest (.jsonl) with words in
its transcripts, or an n-gram table or ARPA file, whose words come the likeliest first.  OUTPUT
receives a dictionary in the format of CMUdict, which `asr.lexicon.read_lexicon` reads, in the
order of the words; those that `--dictionary` has keep their pronunciations, and those in other
letters than the model's are left out.  With `--relatives` English words are first said as those of
the dictionary that they are made of, or spelled like (`asr.relatives`), and possessives of words
that only the network can say as these and 's.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from asr.errors import AsrError, ConfigError
from asr.lexicon import dictionary_lines, read_lexicon
from asr.pronouncer import Pronouncer
from asr.relatives import Relatives
from asr.word_lists import read_word_lists
from asr.world import select_device

__all__ = ["main"]

_WORDS_AT_ONCE = 2000

Pronunciations = tuple[tuple[str, ...], ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Write pronunciations for a list of words.")
    parser.add_argument("model", type=Path, help="model or experiment folder")
    parser.add_argument(
        "words", type=Path, nargs="+", help="a word a line; manifests; tables or ARPA files"
    )
    parser.add_argument("output", type=Path, help="dictionary to write")
    parser.add_argument("--dictionary", type=Path, help="pronunciations that are known")
    parser.add_argument(
        "--relatives", action="store_true", help="English: by related words of the dictionary"
    )
    parser.add_argument("--width", type=int, default=5, help="of the beam; 1: greedy (default: 5)")
    parser.add_argument("--n-best", type=int, default=1, help="pronunciations a word (default: 1)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    arguments = parser.parse_args(argv)
    try:
        if not 1 <= arguments.n_best <= arguments.width:
            raise ConfigError(
                f"--n-best {arguments.n_best}: 1 to the beam's width, {arguments.width}, is needed"
            )
        if arguments.relatives and not arguments.dictionary:
            raise ConfigError("--relatives: a dictionary that has them is needed (--dictionary)")
        words = read_word_lists(arguments.words)
        known: dict[str, Pronunciations] = {}
        relatives: Relatives | None = None
        if arguments.dictionary:
            lexicon = read_lexicon(arguments.dictionary)
            known = {word: every for word in words if (every := lexicon.pronunciations(word))}
            relatives = Relatives(lexicon) if arguments.relatives else None
        if relatives:
            unknown = [word for word in words if word not in known]
            known |= {word: every for word in unknown if (every := relatives.pronunciations(word))}
        pronouncer = Pronouncer(
            arguments.model,
            width=arguments.width,
            n_best=arguments.n_best,
            device=str(select_device(arguments.device)),
        )
        said = known
        unknown = [word for word in words if word not in known]
        bases = {word: base for word in unknown if relatives and (base := relatives.base(word))}
        letters = dict.fromkeys(bases[word][0] if word in bases else word for word in unknown)
        wanted = [word for word in letters if word not in known]
        console = Console(stderr=True)
        starts = range(0, len(wanted), _WORDS_AT_ONCE)
        for start in track(
            starts, "pronouncing", console=console, disable=not console.is_terminal, transient=True
        ):
            said |= pronouncer.pronunciations(wanted[start : start + _WORDS_AT_ONCE])
        for word, (base, rule) in bases.items():
            if every := said.get(base):
                said[word] = tuple(map(rule, every))
        silent = [word for word in words if word not in said]
        lines = [line for word in words for line in dictionary_lines(word, said.get(word, ()))]
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text("".join(lines), encoding="utf-8")
    except AsrError as error:
        print(f"pronounce: error: {error}", file=sys.stderr)
        return error.exit_code
    if silent:
        print(
            f"pronounce: {len(silent)} words got no phones and are left out, as {silent[0]!r}",
            file=sys.stderr,
        )
    print(f"{arguments.output}: {len(words) - len(silent):,} words")
    return 0


if __name__ == "__main__":
    sys.exit(main())
