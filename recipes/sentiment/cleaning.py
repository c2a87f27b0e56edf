"""What is done to a text before it becomes tokens."""

import html
import re
import unicodedata

__all__ = ["clean", "fold"]

_LINK = re.compile(r"(?:https?://|www\.|pic\.twitter\.com/)\S+", re.IGNORECASE)
_USER = re.compile(r"(?<!\w)@\w+")
# Marks of recitation, short vowels, the dagger alef; and the stroke that makes a word longer.
_ARABIC_MARKS = re.compile("[\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0640]")
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]")
_REPEATED = re.compile(r"(.)\1{2,}", re.DOTALL)
_SEPARATE = re.compile(r"([^\w\s])")
# Alef with hamza above, below, with madda, wasla -> alef; alef maqsura -> ya; ta marbuta -> ha.
_LETTERS = str.maketrans("\u0623\u0625\u0622\u0671\u0649\u0629", 4 * "\u0627" + "\u064a\u0647")


def clean(text: str, *, link: str, user: str) -> str:
    """Replace addresses and names of users, and bring white space to single spaces.

    This is all that a pre-trained model wants: its tokenizer does the rest as it was trained.

    Args:
        text: as it was written, with HTML entities.
        link: stands for an address.
        user: stands for @somebody.
    """
    text = html.unescape(text)
    text = _LINK.sub(lambda _: f" {link} ", text)
    text = _USER.sub(lambda _: f" {user} ", text)
    return " ".join(text.split())


def fold(text: str) -> str:
    """Write alike what means the same, for models that have only a few texts to learn from.

    Compatibility forms, case, Arabic vowel marks and the forms of alef, ya and ta marbuta, letters
    repeated more than twice; signs become words of their own, # and _ become spaces.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    text = _INVISIBLE.sub("", _ARABIC_MARKS.sub("", text)).translate(_LETTERS)
    text = _REPEATED.sub(r"\1\1", text).replace("#", " ").replace("_", " ")
    return " ".join(_SEPARATE.sub(r" \1 ", text).split())
