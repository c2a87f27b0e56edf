"""The words of lists, dictionaries, manifests and n-gram models, to be pronounced."""

import re
from collections.abc import Iterable
from pathlib import Path

from asr.errors import TextError
from asr.manifest import read_lines, read_manifest
from lm.language_model import load_language_model
from lm.table import NgramTable

__all__ = ["read_word_lists"]

_VARIANT = re.compile(r"\(\d+\)$")


def read_word_lists(paths: Iterable[Path]) -> list[str]:
    """Return the different words of files in upper case, in their order.

    A file is a text with a word a line, a dictionary, a manifest (.jsonl), of which all words of
    the transcripts count, or an n-gram table or ARPA file, whose words come the likeliest first.

    Raises:
        AsrError: one of them cannot be read, or has no word.
    """
    return list(dict.fromkeys(word for path in paths for word in _read_words(path)))


def _read_words(path: Path) -> list[str]:
    if path.suffix == ".jsonl":
        texts = [utterance.text.upper().split() for utterance in read_manifest(path)]
        return list(dict.fromkeys(word for text in texts for word in text))
    if path.suffix == ".ngram" or ".arpa" in path.suffixes:
        table = load_language_model(path)
        if not isinstance(table, NgramTable):
            raise TextError(f"{path}: a KenLM binary does not say its words; give the ARPA file")
        log_probs = table.arc_log_probs()[: table.n_words]
        likeliest = sorted(range(3, table.n_words), key=lambda word: -log_probs[word])
        return [table.vocabulary[word] for word in likeliest]
    lines = (line for line in read_lines(path) if not line.startswith(";;;"))
    fields = (line.split() for line in lines)
    words = dict.fromkeys(_VARIANT.sub("", field[0]).upper() for field in fields if field)
    if not words:
        raise TextError(f"{path}: holds no words; one a line is needed")
    return list(words)
