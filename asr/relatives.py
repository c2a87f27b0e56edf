"""How an English word is said by the words it is made of, or spelled like, that a dictionary has.

SHRIMPS is SHRIMP and S, SAVOURY is SAVORY in another spelling, WATCHFULNESS is WATCHFUL and NESS,
RECEIV'D is RECEIVED.  A network that has only read words guesses these; they need not be guessed.
"""

import re
from collections.abc import Callable, Iterator

from asr.lexicon import Lexicon

__all__ = ["Relatives"]

_Phones = tuple[str, ...]
_Rule = Callable[[_Phones], _Phones]

_VOWELS = frozenset("AEIOUY")
_SIBILANTS = frozenset(["S", "Z", "SH", "ZH", "CH", "JH"])
_VOICELESS = frozenset(["P", "T", "K", "F", "TH", "S", "SH", "CH"])

# What ends so comes from a verb: NOMINATING from NOMINATE, with EY T.
_VERB = re.compile("AT(ED|ES|ING|INGLY|OR|ORS)$")

# Other spellings of words, British or of older books, and how dictionaries of American English have
# them.
_SPELLINGS = (
    (r"OUR(?=$|S$|ED$|ING$|ER$|ERS$|ABLE$|ABLY$|LESS$|ITE$|HOOD|Y$|'S$)", "OR"),
    (r"IS(?=E$|ES$|ED$|ING$|ER$|ERS$|ATION$|ATIONS$)", "IZ"),
    (r"YS(?=E$|ES$|ED$|ING$)", "YZ"),
    (r"LL(?=ED$|ING$|ER$|ERS$|OUS$|OUSLY$|OR$|ORS$)", "L"),
    (r"ENCE(?=$|S$|LESS$)", "ENSE"),
    (r"(?<=[BCDGHKPTV])RE(?=$|S$)", "ER"),
    (r"XION(?=$|S$)", "CTION"),
    (r"^WAGG", "WAG"),
    (r"^DES(?=PATCH)", "DIS"),
    (r"^EN(?=QUIR|CLOS|TRUST|CAS)", "IN"),
    (r"IL(?=$|S$|MENT$|FUL)", "ILL"),
    (r"OL(?=$|S$)", "OLL"),
    (r"OGUE(?=$|S$)", "OG"),
    (r"DGMENT", "DGEMENT"),
    (r"OUL(?=D)", "OL"),
    (r"[AO]E(?=[A-Z]{3})", "E"),
)

# What a word may end with that is one by itself.
_SECOND_PARTS = frozenset(
    [
        "BIRD", "BOAT", "BOARD", "BOOK", "BURN", "CHURCH", "COAT", "CORN", "CRAFT", "CROFT",
        "DALE", "FIELD", "FISH", "FORD", "FORTH", "GATE", "GROUND", "HALL", "HEAD", "HOLE",
        "HOUSE", "KEEPER", "LAND", "LIGHT", "LINE", "LOCK", "MAKER", "MASTER", "PENCE", "PIECE",
        "PLACE", "POST", "ROOM", "SHIRE", "SIDE", "SMITH", "STEAD", "STICK", "STONE", "STORM",
        "THING", "TIDE", "TIME", "TREE", "WARD", "WATER", "WELL", "WOMAN", "WOMEN", "WOOD",
        "WORK", "WORKER", "WORTHY", "YARD",
    ]
)  # fmt: skip


class Relatives:
    """Pronounces words by others of a dictionary.

    Args:
        lexicon: of English, phones in the way of CMUdict without stress; AX for the vowel of an
            ending where it has that phone, else AH
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._schwa = "AX" if "AX" in lexicon.phones else "AH"

    def pronunciations(self, word: str) -> tuple[_Phones, ...]:
        """Say a word as its relatives say it; nothing where it has none.

        Args:
            word: in upper case
        """
        for respelled in _respelled(word):
            if found := self._lexicon.pronunciations(respelled):
                return found
        for base, rule in self._derivations(word):
            found = self._lexicon.pronunciations(base)
            for respelled in _respelled(base) if not found else ():
                found = found or self._lexicon.pronunciations(respelled)
            if found:
                if _VERB.search(word) and base.endswith("ATE"):
                    found = tuple((*p[:-2], "EY", "T") if len(p) > 3 else p for p in found)
                return tuple(dict.fromkeys(map(rule, found)))
        return ()

    def base(self, word: str) -> tuple[str, _Rule] | None:
        """The letters of a word with an apostrophe, and how it is said where they are known.

        For words that no relative says: a possessive is its word and 's, others are said as
        without the apostrophe.
        """
        if word.endswith("'S") and len(word) > 2:
            return word[:-2], self._plural
        letters = word.replace("'", "")
        return (letters, _same) if letters and letters != word else None

    def _derivations(self, word: str) -> Iterator[tuple[str, _Rule]]:
        """Words that a word may come from, and how it is said then, the surest first."""
        if word.endswith("'S"):
            yield word[:-2], self._plural
        if word.endswith("S'"):
            yield word[:-1], _same
        for ending, phones in _contracted(self._schwa).items():
            if word.endswith(ending):
                yield word.removesuffix(ending), _then(*phones)
        if word.endswith("'D"):
            yield word[:-2] + "ED", _same
            yield word[:-2] + "D", _same
            yield word[:-3] + "IED", _same
            yield word[:-2], self._past
        yield from ((base, self._plural) for base in _without_s(word))
        yield from ((base, self._past) for base in _without(word, "ED"))
        yield from ((base, _then("IH", "NG")) for base in _without(word, "ING"))
        if word.endswith("ICALLY"):
            yield word[:-4], _then("L", "IY")
        for ending, phones in _endings(self._schwa).items():
            if word.endswith(ending) and len(word) - len(ending) > 2:
                stem = word.removesuffix(ending)
                yield stem, _then(*phones)
                if stem.endswith("I"):
                    rule = self._without_y(phones) if ending == "LY" else _then(*phones)
                    yield stem[:-1] + "Y", rule
        if word.endswith("BLY"):
            yield word[:-1] + "E", _ably
        yield from ((base, _then("ER")) for base in _without(word, "ER"))
        yield from ((base, _then(self._schwa, "S", "T")) for base in _without(word, "EST"))
        for beginning, said in _BEGINNINGS.items():
            if word.startswith(beginning) and len(word) - len(beginning) > 3:
                yield word.removeprefix(beginning), _after(said)
        for cut in range(len(word) - 4, 2, -1):
            first = self._lexicon.pronunciations(word[:cut])
            if first and word[cut:] in _SECOND_PARTS:
                yield word[cut:], _after(first[0])

    def _plural(self, phones: _Phones) -> _Phones:
        if phones[-1] in _SIBILANTS:
            return (*phones, "IH", "Z")
        return (*phones, "S" if phones[-1] in _VOICELESS else "Z")

    def _past(self, phones: _Phones) -> _Phones:
        if phones[-1] in ("T", "D"):
            return (*phones, self._schwa, "D")
        return (*phones, "T" if phones[-1] in _VOICELESS else "D")

    def _without_y(self, ending: _Phones) -> _Rule:
        """MERRY to MERRILY: the Y becomes the vowel of an ending."""
        return lambda phones: (
            *phones[:-1],
            self._schwa if phones[-1] == "IY" else phones[-1],
            *ending,
        )


_BEGINNINGS: dict[str, _Phones] = {
    "UN": ("AH", "N"),
    "OVER": ("OW", "V", "ER"),
    "UNDER": ("AH", "N", "D", "ER"),
    "OUT": ("AW", "T"),
    "MIS": ("M", "IH", "S"),
    "FORE": ("F", "AO", "R"),
}


def _contracted(schwa: str) -> dict[str, _Phones]:
    return {"N'T": ("N", "T"), "'LL": (schwa, "L"), "'VE": (schwa, "V"), "'RE": ("ER",)}


def _endings(schwa: str) -> dict[str, _Phones]:
    """Endings that begin with a consonant, the longer ones first."""
    return {
        "LESSLY": ("L", schwa, "S", "L", "IY"),
        "LESSNESS": ("L", schwa, "S", "N", schwa, "S"),
        "FULLY": ("F", schwa, "L", "IY"),
        "FULNESS": ("F", schwa, "L", "N", schwa, "S"),
        "NESS": ("N", schwa, "S"),
        "LESS": ("L", schwa, "S"),
        "LY": ("L", "IY"),
        "FUL": ("F", schwa, "L"),
        "SHIP": ("SH", "IH", "P"),
        "LIKE": ("L", "AY", "K"),
        "MENT": ("M", schwa, "N", "T"),
        "HOOD": ("HH", "UH", "D"),
    }


def _same(phones: _Phones) -> _Phones:
    return phones


def _then(*more: str) -> _Rule:
    """What stands behind a word; of two L there is only one then."""

    def rule(phones: _Phones) -> _Phones:
        if more[:1] == ("L",) and phones[-1] == "L":
            return (*phones, *more[1:])
        return (*phones, *more)

    return rule


def _after(before: _Phones) -> _Rule:
    return lambda phones: (*before, *phones)


def _ably(phones: _Phones) -> _Phones:
    """ABLE to ABLY: B AX L to B L IY."""
    return (*phones[:-2], phones[-1], "IY") if len(phones) > 2 else (*phones, "IY")


def _respelled(word: str) -> Iterator[str]:
    for pattern, other in _SPELLINGS:
        respelled = re.sub(pattern, other, word)
        if respelled != word:
            yield respelled


def _without_s(word: str) -> Iterator[str]:
    if not word.endswith("S") or word.endswith(("SS", "'S", "US", "IS")) or len(word) < 4:
        return
    yield word[:-1]
    if word.endswith("IES"):
        yield word[:-3] + "Y"
    elif word.endswith("ES"):
        yield word[:-2]


def _without(word: str, ending: str) -> Iterator[str]:
    """What an ending that begins with a vowel may stand behind: STOP, PASS, CARRY and LOVE."""
    stem = word.removesuffix(ending)
    if stem == word or len(stem) < 2 or not _VOWELS & set(stem):
        return
    if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
        if stem[-1] in "SLFZ":
            yield stem
        yield stem[:-1]
    if stem[-1] == "I" and ending != "ING":
        yield stem[:-1] + "Y"
    yield stem + "E"
    yield stem
