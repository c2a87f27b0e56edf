"""Tokenizers, between transcripts and token ids; and the normaliser of `asr.english`."""

import functools
import io
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import sentencepiece

from asr.english import normalize
from asr.errors import TextError
from asr.lexicon import Lexicon, read_lexicon, write_lexicon
from asr.pronouncer import Pronouncer

__all__ = [
    "BLANK",
    "WORD_END",
    "CharTokenizer",
    "PhoneTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "Tokens",
    "frames_needed",
    "load_tokenizer",
    "normalize",
    "train_sentencepiece",
    "writes_upper_case",
]

BLANK = "<blank>"

WORD_END = "|"
"""Behind the phones of each word, see `PhoneTokenizer`."""

_LEXICON_FILE, _PRONOUNCER_FOLDER = "lexicon.gz", "pronouncer"

# SentencePiece's mark at the start of a word.
_WORD_MARK = "\u2581"


class Tokens(Protocol):
    """Text to token ids and back, as decoders need it.

    Attributes:
        symbols: the symbol of each token id; symbols[0] is BLANK, which no text contains
        n_tokens: number of token ids, with the blank
        marks_words: whether words can be told apart in a sequence of tokens
    """

    symbols: tuple[str, ...]
    n_tokens: int
    marks_words: bool

    def encode(self, text: str) -> list[int]:
        """The token ids of a text.

        Raises:
            TextError: naming the first character or word that cannot be encoded
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids; blanks are left out."""

    def split_words(self, tokens: Sequence[int]) -> list[tuple[str, int, int]]:
        """Each word with the range of its tokens.

        Returns:
            (word, start, end) with tokens[start:end] the word's own tokens; one entry per
            token where the tokenizer marks no words.
        """

    def unknown(self, text: str) -> list[str]:
        """What of a text cannot be encoded (characters or words), each once, in order."""


class Tokenizer(Tokens, Protocol):
    """The tokens of a model, which keeps them in its folder."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the tokenizer's files into a folder, which is made if need be."""


class CharTokenizer:
    """One token per character; a space, if there is one, parts words.

    Args:
        characters: the characters in the order of their token ids, which start at 1
    """

    def __init__(self, characters: Iterable[str] = " 'ABCDEFGHIJKLMNOPQRSTUVWXYZ") -> None:
        self.symbols = (BLANK, *characters)
        self.n_tokens = len(self.symbols)
        self._ids = {character: index for index, character in enumerate(self.symbols)}
        bad = [character for character in self.symbols[1:] if len(character) != 1]
        if bad or len(self._ids) != self.n_tokens or self.n_tokens == 1:
            raise TextError(
                f"characters {''.join(self.symbols[1:])!r}: one or more different single "
                "characters are needed"
            )
        self.marks_words = " " in self._ids

    def encode(self, text: str) -> list[int]:
        """The token id of each character."""
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            raise _unencodable(self, "character", error.args[0], text) from None

    def decode(self, tokens: Sequence[int]) -> str:
        """The characters joined; spaces at the ends and beside spaces are left out."""
        text = "".join([self.symbols[token] for token in tokens if token])
        return " ".join(filter(None, text.split(" "))) if self.marks_words else text

    def split_words(self, tokens: Sequence[int]) -> list[tuple[str, int, int]]:
        """Each word with the range of its tokens, spaces left out."""
        if not self.marks_words:
            return _each_token(self, tokens)
        words: list[tuple[str, int, int]] = []
        start = 0
        # One character a token, so that places in the text are places among the tokens.
        text = "".join([self.symbols[token] if token else "\0" for token in tokens])
        for part in text.split(" "):
            if word := part.replace("\0", ""):
                words.append((word, start, start + len(part)))
            start += len(part) + 1
        return words

    def unknown(self, text: str) -> list[str]:
        """The characters that are not among the symbols."""
        return [character for character in dict.fromkeys(text) if character not in self._ids]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json."""
        _save_json(Path(folder), {"kind": "characters", "symbols": self.symbols})


class SentencePieceTokenizer:
    """Word pieces of a SentencePiece model that `train_sentencepiece` made.

    The piece ids are the model's own: its unknown piece, which is id 0, gives its place to the
    blank, and there are no other special pieces.

    Args:
        model: the bytes of the model file

    Raises:
        TextError: no SentencePiece model, or one with other special pieces
    """

    marks_words = True

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise TextError(f"not a SentencePiece model ({_one_line(error)})") from None
        n_tokens = self._processor.GetPieceSize()
        special = [i for i in range(1, n_tokens) if not self._is_normal(i)]
        if special or self._processor.unk_id() != 0:
            raise TextError(
                "a SentencePiece model with special pieces; one whose only special piece is <unk> "
                "with id 0 is needed: train it with `asr prepare --tokenizer`"
            )
        pieces = (self._processor.IdToPiece(index) for index in range(1, n_tokens))
        self.symbols = (BLANK, *pieces)
        self.n_tokens = n_tokens

    def encode(self, text: str) -> list[int]:
        """The ids of the text's most likely (unigram) or greedily merged (BPE) pieces."""
        tokens: list[int] = self._processor.EncodeAsIds(text)
        if 0 in tokens:
            raise _unencodable(self, "character", self.unknown(text)[0], text)
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The pieces joined, with a space for each word mark."""
        joined = "".join(self.symbols[token] for token in tokens if token != 0)
        return " ".join(joined.replace(_WORD_MARK, " ").split())

    def split_words(self, tokens: Sequence[int]) -> list[tuple[str, int, int]]:
        """Each word with the range of its tokens; a word starts at a piece with a word mark."""
        words: list[tuple[str, int, int]] = []
        start = 0
        for end in range(1, len(tokens) + 1):
            if end == len(tokens) or self.symbols[tokens[end]].startswith(_WORD_MARK):
                if word := self.decode(tokens[start:end]):
                    words.append((word, start, end))
                start = end
        return words

    def unknown(self, text: str) -> list[str]:
        """The characters that no piece covers."""
        characters = dict.fromkeys("".join(text.split()))
        return [c for c in characters if self._processor.PieceToId(c) == 0]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json and the model, tokenizer.model."""
        _save_json(Path(folder), {"kind": "sentencepiece", "symbols": self.symbols})
        (Path(folder) / "tokenizer.model").write_bytes(self._model)

    def _is_normal(self, index: int) -> bool:
        tests = (self._processor.IsControl, self._processor.IsByte, self._processor.IsUnused)
        return not any(test(index) for test in tests)


class PhoneTokenizer:
    """One token per phone; a lexicon gives each word its phones.

    Encoding takes a word's first pronunciation; a word that the lexicon lacks is pronounced by the
    pronouncer, if there is one.  Phones alone do not say where words end, so that
    decoding gives phones with spaces between them.  With word ends, the last token stands behind
    every word, and decoding gives words: of those with just these phones the first in the
    lexicon, and where there is none the phones with hyphens between them.

    Args:
        lexicon: the words and their pronunciations
        word_ends: whether a token, WORD_END, ends each word
        phones: that there are, in the order of their tokens; by default those of the lexicon
        pronouncer: of words that the lexicon lacks

    Raises:
        TextError: a phone is called as the end of words
    """

    def __init__(
        self,
        lexicon: Lexicon,
        *,
        word_ends: bool = False,
        phones: Sequence[str] | None = None,
        pronouncer: Pronouncer | None = None,
    ) -> None:
        self.lexicon = lexicon
        self.pronouncer = pronouncer
        self.marks_words = word_ends
        phones = lexicon.phones if phones is None else phones
        self.symbols = (BLANK, *phones, *([WORD_END] if word_ends else []))
        self.n_tokens = len(self.symbols)
        self.word_end = self.n_tokens - 1 if word_ends else None
        self._ids = {phone: index for index, phone in enumerate(self.symbols)}
        if len(self._ids) != self.n_tokens:
            raise TextError(f"a lexicon with the phone {WORD_END!r}, which ends words; rename it")

    def encode(self, text: str) -> list[int]:
        """The ids of the phones of each word's first pronunciation."""
        tokens: list[int] = []
        words = text.split()
        said = self._pronounced(words)
        for word in words:
            if word not in said:
                raise _unencodable(self, "word", word, text)
            try:
                tokens.extend([self._ids[phone] for phone in said[word]])
            except KeyError as error:
                raise TextError(
                    f"{word} is said with {error.args[0]!r}, no phone of the tokenizer; use the "
                    "lexicon and the pronouncer that it was made with"
                ) from None
            if self.word_end is not None:
                tokens.append(self.word_end)
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The phones, or with word ends the words, with spaces between them."""
        return " ".join(word for word, _, _ in self.split_words(tokens))

    def split_words(self, tokens: Sequence[int]) -> list[tuple[str, int, int]]:
        """Each phone with its own range; each word, without its end, where ends are marked."""
        if not self.marks_words:
            return _each_token(self, tokens)
        words: list[tuple[str, int, int]] = []
        start = 0
        for end in range(len(tokens) + 1):
            if end == len(tokens) or tokens[end] == self.word_end:
                phones = tuple(self.symbols[token] for token in tokens[start:end] if token)
                if phones:
                    words.append((self._words.get(phones, "-".join(phones)), start, end))
                start = end + 1
        return words

    def is_word(self, tokens: Sequence[int]) -> bool:
        """Whether the lexicon has a word with just these phones."""
        return tuple(self.symbols[token] for token in tokens) in self._words

    @functools.cached_property
    def _words(self) -> dict[tuple[str, ...], str]:
        words: dict[tuple[str, ...], str] = {}
        for word in self.lexicon.words:
            for phones in self.lexicon.pronunciations(word):
                words.setdefault(phones, word)
        return words

    def unknown(self, text: str) -> list[str]:
        """The words that cannot be pronounced."""
        words = list(dict.fromkeys(text.split()))
        said = self._pronounced(words)
        return [word for word in words if word not in said]

    def _pronounced(self, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The phones of each word that can be pronounced."""
        said = {word: phones for word in words if (phones := self.lexicon.pronounce(word))}
        rest = [word for word in words if word not in said]
        if self.pronouncer and rest:
            found = self.pronouncer.pronunciations(rest)
            said.update((word, every[0]) for word, every in found.items())
        return said

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, the lexicon as a dictionary, lexicon.gz, and pronouncer/."""
        options = {"spell_unknown": self.lexicon.spell_unknown, "word_ends": self.marks_words}
        _save_json(Path(folder), {"kind": "phones", "symbols": self.symbols, **options})
        write_lexicon(self.lexicon, Path(folder) / _LEXICON_FILE)
        if self.pronouncer:
            self.pronouncer.save(Path(folder) / _PRONOUNCER_FOLDER)
        else:  # that of an earlier tokenizer
            shutil.rmtree(Path(folder) / _PRONOUNCER_FOLDER, ignore_errors=True)


def train_sentencepiece(
    texts: Iterable[str], n_tokens: int, kind: Literal["bpe", "unigram"] = "bpe"
) -> SentencePieceTokenizer:
    """Learn word pieces from texts; the same texts in the same order give the same pieces.

    Args:
        texts: normalised transcripts
        n_tokens: pieces in all, with the blank
        kind: "bpe" merges frequent pairs, "unigram" keeps the pieces of the likeliest model

    Raises:
        TextError: no text, or more or fewer tokens wanted than the texts allow

    Reference: Sennrich et al. 2016 (BPE); Kudo 2018, Subword Regularization (unigram).
    """
    lines = [text for text in texts if text.strip()]
    if not lines:
        raise TextError("no text to learn word pieces from")
    # The characters, the blank and the word mark.
    fewest = len(set("".join(lines)) - {" "}) + 2
    if n_tokens < fewest:
        raise TextError(
            f"{n_tokens} tokens are too few; {fewest - 2} different characters need at least "
            f"{fewest}"
        )
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=kind,
            vocab_size=n_tokens,
            character_coverage=1.0,
            normalization_rule_name="identity",
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            # Longer lines would be left out without a word; a limit below 10 is refused.
            max_sentence_length=max(10, 1 + max(len(line.encode()) for line in lines)),
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise TextError(
            f"{kind} pieces with {n_tokens} tokens cannot be learned from {len(lines)} lines "
            f"({_one_line(error).split('] ')[-1]})"
        ) from None
    return SentencePieceTokenizer(model.getvalue())


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """Load the tokenizer that lies in a model folder or a tokenizer folder.

    Raises:
        TextError: its files are missing or damaged
    """
    path = Path(folder) / "tokenizer.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        tokenizer = _from_fields(fields, path.parent)
        if tokenizer.symbols != tuple(fields["symbols"]):
            raise ValueError("its symbols are not those of its model or lexicon")
    except OSError as error:
        name = error.filename or path
        raise TextError(f"{name}: no tokenizer can be read there ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TextError(f"{path}: damaged tokenizer file ({error}); make it again") from None
    return tokenizer


def _from_fields(fields: Any, folder: Path) -> Tokenizer:
    kind = fields["kind"]
    if kind == "characters":
        return CharTokenizer(fields["symbols"][1:])
    if kind == "sentencepiece":
        return SentencePieceTokenizer((folder / "tokenizer.model").read_bytes())
    if kind == "phones":
        # Stress has gone where it should not be there.
        lexicon = read_lexicon(
            folder / _LEXICON_FILE, stress=True, spell_unknown=fields["spell_unknown"]
        )
        word_ends = fields["word_ends"]
        phones = fields["symbols"][1 : -1 if word_ends else None]
        path = folder / _PRONOUNCER_FOLDER
        pronouncer = Pronouncer(path) if path.is_dir() else None
        return PhoneTokenizer(lexicon, word_ends=word_ends, phones=phones, pronouncer=pronouncer)
    raise ValueError(f"kind {kind!r}; characters, sentencepiece or phones is needed")


def frames_needed(tokens: Sequence[int]) -> int:
    """Output frames that CTC needs at least to emit a token sequence.

    Every token takes a frame, and two equal neighbours need a blank between them:

        frames = |tokens| + |{i : tokens[i] = tokens[i + 1]}|

    Reference: Graves et al. 2006, Connectionist Temporal Classification.
    """
    return len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))


def _unencodable(tokenizer: Tokenizer, what: str, got: str, text: str) -> TextError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    advice = "normalise the text or use a tokenizer that covers it"
    if isinstance(tokenizer, PhoneTokenizer):
        advice = "add it to the lexicon, or use a model that spells (--model characters)"
    return TextError(
        f"{what} {got!r} in {shown!r} is unknown to the tokenizer of {tokenizer.n_tokens} tokens; "
        f"{advice}"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _each_token(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[tuple[str, int, int]]:
    return [
        (tokenizer.symbols[token], index, index + 1)
        for index, token in enumerate(tokens)
        if token != 0
    ]


def _save_json(folder: Path, fields: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(fields, ensure_ascii=False, indent=1)
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")


def writes_upper_case(tokenizer: Tokenizer) -> bool:
    """Whether all letters that a tokenizer writes are upper case, as `normalize` makes them."""
    letters = "".join(tokenizer.symbols[1:])
    return letters == letters.upper() and letters != letters.lower()
