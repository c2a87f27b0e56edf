"""What a decoder found: words with times and confidences."""

from dataclasses import dataclass

__all__ = ["Hypothesis", "Word"]


@dataclass(frozen=True)
class Word:
    """One word and where it was said.

    Attributes:
        text: The word.
        start: Start of its first token's first frame, seconds from the utterance's start.
        end: End of its last token's last frame, seconds; start < end.
        confidence: How sure the acoustic model is of the word, 0 to 1 (see the decoder).
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Hypothesis:
    """One transcript that a decoder proposes for an utterance.

    Attributes:
        text: The transcript.
        tokens: Its token ids, without blanks.
        words: Its words in order, none starting before the one before it ends; where the
            tokenizer cannot tell words apart, one per token.
        score: What the decoder maximised, a natural logarithm; higher is better.
    """

    text: str
    tokens: tuple[int, ...]
    words: tuple[Word, ...]
    score: float
