"""How tokens spell words, told from a tokenizer, for the decoders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asr.errors import LanguageModelError
from asr.text import Tokens

__all__ = ["Spelling", "spelling_of"]


@dataclass(frozen=True)
class Spelling:
    """What each token does to the text of a hypothesis.

    A token that starts a word ends the one before it; then it adds its text, which can be empty:
    a space only ends words.  A sequence of tokens thus has the words that
    `Tokenizer.split_words` finds.

    Attributes:
        texts: What each token adds to the word; nothing for the blank.
        starts: Whether each token starts a word.
        reader: Gives the word of its tokens where that is not their texts joined (phones).
    """

    texts: tuple[str, ...]
    starts: tuple[bool, ...]
    reader: Callable[[Sequence[int]], str] | None = None

    def word(self, tokens: Sequence[int]) -> str:
        """The word that tokens spell."""
        if self.reader is not None:
            return self.reader(tokens)
        return "".join([self.texts[token] for token in tokens])


def spelling_of(tokenizer: Tokens) -> Spelling:
    """Find out how a tokenizer's tokens spell words.

    Where the tokenizer marks no words, each token is one.

    Raises:
        LanguageModelError: a token neither continues a word nor starts one
    """
    if not tokenizer.marks_words:
        tokens = range(tokenizer.n_tokens)
        return Spelling(("", *tokenizer.symbols[1:]), tuple(token > 0 for token in tokens))
    texts = tuple(tokenizer.decode([token]) for token in range(tokenizer.n_tokens))
    before = next(token for token, text in enumerate(texts) if text)
    starts = [False]
    for token, text in enumerate(texts[1:], start=1):
        together = tokenizer.decode([before, token])
        starts.append(together != texts[before] + text or not text)
        if starts[-1] and text and together != f"{texts[before]} {text}":
            raise LanguageModelError(
                f"the token {tokenizer.symbols[token]!r} neither continues a word nor starts one; "
                "beam search needs tokens that do one or the other"
            )
    return Spelling(texts, tuple(starts))
