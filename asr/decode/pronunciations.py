"""Words told apart by their phones: the tokens that a beam searches where a model says phones.

The search of `asr.decode.engine` knows words by what tokens spell.  Here a word is spelled by its
first phone, its other phones and its end.  So that a phone says whether it begins a word, the
search has two tokens for each; so that words that sound alike are different to it, it has as many
ends as the most words that share a pronunciation.  All tokens of one phone, and all ends, have
the log-probabilities that the model gives this phone or the end:

    P(audio, words) = sum over pronunciations of P(audio | phones) P(words),

of which the search takes the largest, with P(phones | words) = 1 for those in the lexicon.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from asr.decode.spelling import Spelling
from asr.errors import LanguageModelError, TextError
from asr.lexicon import Lexicon
from asr.text import PhoneTokenizer
from lm.backoff import Ints

__all__ = ["PronouncedWords"]

# A private character stands for each token in the texts of words.
_FIRST_CHARACTER = 0xE000


class PronouncedWords:
    """`asr.text.Tokens` for words that are known by their phones.

    Tokens are the blank, the phones inside words, the ends of words and the phones that begin
    words.

    Args:
        tokenizer: that of the acoustic model, with word ends
        lexicon: pronunciations
        words: those that there are, the likeliest first; of those that sound alike it gives the
            likeliest the first end.  Words that the lexicon cannot pronounce are left out.

    Raises:
        LanguageModelError: the tokenizer has no word ends, the lexicon has phones that it lacks, or
            pronounces none of the words
    """

    marks_words = True

    def __init__(self, tokenizer: PhoneTokenizer, lexicon: Lexicon, words: Sequence[str]) -> None:
        if not tokenizer.marks_words:
            raise LanguageModelError(
                "the model says phones without word ends, and a beam search of words needs those; "
                "train with a tokenizer made by `asr prepare --tokenizer phones --word-ends`"
            )
        n_phones = tokenizer.n_tokens - 2
        ids = {symbol: index for index, symbol in enumerate(tokenizer.symbols[:-1])}
        if lacking := [phone for phone in lexicon.phones if phone not in ids]:
            raise LanguageModelError(
                f"the lexicon has phones that the model does not say ({', '.join(lacking[:5])}); "
                "use the dictionary, with or without stress, that the model was trained with"
            )
        self.lexicon = lexicon
        pronounced = [
            (word, ids[phones[0]] - 1, bytes(ids[phone] for phone in phones[1:]), number)
            for word in words
            for number, phones in enumerate(lexicon.pronunciations(word))
        ]
        if not pronounced:
            raise LanguageModelError(
                f"the lexicon pronounces none of the {len(words)} words, as {words[:1]}; use a "
                "dictionary of the language model's words in upper case"
            )
        n_alike: dict[tuple[int, bytes], int] = {}
        ends = []
        for _, first, rest, _ in pronounced:
            ends.append(n_alike.get((first, rest), 0))
            n_alike[first, rest] = ends[-1] + 1
        n_ends = max(n_alike.values())
        self.columns: Ints = np.array(
            [*range(n_phones + 1), *[n_phones + 1] * n_ends, *range(1, n_phones + 1)], np.int32
        )
        """(V,) the model's token whose log-probability each token has."""
        self.n_tokens = len(self.columns)
        self.symbols = tuple(tokenizer.symbols[token] for token in self.columns)
        self._first_end, self._first_start = n_phones + 1, n_phones + 1 + n_ends
        texts = ("", *(chr(_FIRST_CHARACTER + token) for token in range(1, self.n_tokens)))
        spelled: dict[str, list[str]] = {}
        by_text: dict[str, str] = {}
        self._tokens: dict[str, list[int]] = {}
        for (word, first, rest, number), end in zip(pronounced, ends, strict=True):
            tokens = [self._first_start + first, *rest, self._first_end + end]
            text = "".join([texts[token] for token in tokens])
            by_text[text] = word
            spelled.setdefault(word, []).append(text)
            if number == 0:
                self._tokens[word] = tokens
        starts = tuple(token >= self._first_start for token in range(self.n_tokens))
        self.spelling = Spelling(texts, starts, by_text, spelled)

    def expand(self, log_probs: Tensor) -> Tensor:
        """The model's log-probabilities (..., its tokens) as those of the tokens here, (..., V)."""
        return log_probs[..., self.columns]

    def encode(self, text: str) -> list[int]:
        """The tokens of each word's first pronunciation.

        Raises:
            TextError: a word that is not among those that there are
        """
        words = text.split()
        if unknown := self.unknown(text):
            raise TextError(f"the lexicon of {len(self._tokens)} words has no {unknown[0]!r}")
        return [token for word in words for token in self._tokens[word]]

    def decode(self, tokens: Sequence[int]) -> str:
        """The words, with spaces between them."""
        return " ".join(word for word, _, _ in self.split_words(tokens))

    def split_words(self, tokens: Sequence[int]) -> list[tuple[str, int, int]]:
        """Each word with the range of its phones, its end left out."""
        texts = self.spelling.texts
        starts = [i for i, token in enumerate(tokens) if token >= self._first_start]
        words = []
        for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
            text = "".join([texts[token] for token in tokens[start:end]])
            words.append((self.spelling.word(text), start, end - 1))
        return words

    def unknown(self, text: str) -> list[str]:
        """The words that are not among those that there are."""
        return [word for word in dict.fromkeys(text.split()) if word not in self._tokens]
