"""English transcripts written as they are spoken."""

import re
import unicodedata
from functools import lru_cache

from num2words import num2words

__all__ = ["normalize", "spell_numbers"]

_LETTERS = str.maketrans(
    {"Æ": "AE", "Œ": "OE", "Ø": "O", "Đ": "D", "Ð": "D", "Þ": "TH", "Ł": "L", "Ħ": "H", "ẞ": "SS"}
)
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u02bb\u2032`\u00b4", "'"),
        "\u00b2": " SQUARED ",
        "\u00b3": " CUBED ",
        "\u00b0": " DEGREES ",
        "&": " AND ",
        "%": " PERCENT ",
        "+": " PLUS ",
        "=": " EQUALS ",
        "@": " AT ",
        "\u2044": "/",
    }
)
# Marks of corpora that nobody says; any other word in brackets is an editor's, and is said.
_MARK = re.compile(
    r"<[A-Z/_|-]+>|\[(?:UNK|NOISE|VOCALIZED-NOISE|LAUGHTER|LAUGH|COUGH|BREATH|SILENCE|SIL|MUSIC"
    r"|APPLAUSE|INAUDIBLE|CROSSTALK)\]"
)
_TITLE = re.compile(r"\b(DR|ST|REV|LT|SGT|CAPT|COL|GEN|PROF|GOV|HON|MT)\.(?=\s+[A-Z])")
_TITLES = {
    "DR": "DOCTOR",
    "ST": "SAINT",
    "REV": "REVEREND",
    "LT": "LIEUTENANT",
    "SGT": "SERGEANT",
    "CAPT": "CAPTAIN",
    "COL": "COLONEL",
    "GEN": "GENERAL",
    "PROF": "PROFESSOR",
    "GOV": "GOVERNOR",
    "HON": "HONORABLE",
    "MT": "MOUNT",
}
_ABBREVIATIONS = {
    "MR": "MISTER",
    "MRS": "MISSUS",
    "ETC": "ET CETERA",
    "VS": "VERSUS",
    "JR": "JUNIOR",
    "SR": "SENIOR",
}
_DOUBLED = re.compile(r"(?<=[A-Z])''+(?=[A-Z])")
_QUOTES = re.compile(r"''+")

_INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_CURRENCIES = {
    "$": ("DOLLAR", "DOLLARS", "CENT", "CENTS"),
    "£": ("POUND", "POUNDS", "PENNY", "PENCE"),
    "€": ("EURO", "EUROS", "CENT", "CENTS"),
    "¥": ("YEN", "YEN", "SEN", "SEN"),
}
_MAGNITUDES = {
    "HUNDRED": "HUNDRED",
    "THOUSAND": "THOUSAND",
    "K": "THOUSAND",
    "MILLION": "MILLION",
    "M": "MILLION",
    "BILLION": "BILLION",
    "BN": "BILLION",
    "TRILLION": "TRILLION",
}
# num2words knows larger numbers, but nobody reads a card number as quadrillions.
_LONGEST_CARDINAL = 15

_DAY_HALF = re.compile(r"(?<=\d)\s*([AP])\.?M\b\.?")
_CLOCK = re.compile(r"(?<![\d:.])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])(\s+[AP] M\b)?")
_MONEY = re.compile(
    rf"([$£€¥])\s?({_INTEGER})(?:\.(\d+))?(?:\s?({'|'.join(_MAGNITUDES)})(?![A-Z]))?"
)
_ORDINAL = re.compile(rf"({_INTEGER})(?:ST|ND|RD|TH)\b")
_PLURAL = re.compile(rf"(?<![\d.,])'?({_INTEGER})'?S\b")
_FRACTION = re.compile(r"(?<![\d/.,])(?:(\d+)\s+)?([1-9])/([2-9]|10)(?![\d/.]*\d)")
_MINUS = re.compile(r"(?<![^\s(])[-\u2212](?=\.?\d)")
_NUMBER_SIGN = re.compile(r"(?:#|\bNOS?\.)\s?(?=\d)")
_DECIMAL = re.compile(rf"({_INTEGER})((?:\.\d+)+)|(?<!\w)\.(\d+)")
_CARDINAL = re.compile(_INTEGER)


def normalize(text: str) -> str:
    """Write an English transcript as it is spoken: A-Z, apostrophes and single spaces.

    The result is in the style of LibriSpeech.  Case and accents go, numbers, money, `%`, `&`
    and the like become words (`spell_numbers`), usual abbreviations are written out (Mr. ->
    MISTER), marks of corpora such as <unk> and [noise] and all punctuation go, hyphens part
    words.  An apostrophe stays inside a word (DON'T) and goes at its edges ('TIS -> TIS,
    BOYS' -> BOYS): there it cannot be told from a quote, and LibriSpeech has next to none.
    Letters of other scripts stay, so that a tokenizer refuses them by name instead of a word
    vanishing.

    normalize(normalize(x)) == normalize(x).
    """
    # 2½ decomposes to 21/2; the space keeps the whole number apart.
    text = re.sub(r"[\u00bc-\u00be\u2150-\u215e\u2189]", r" \g<0> ", text)
    text = unicodedata.normalize("NFKD", text.translate(_SIGNS)).upper()
    text = unicodedata.normalize("NFKD", text).translate(_LETTERS).translate(_SIGNS)
    if not text.isascii():
        text = "".join(_plain(character) for character in text)
    text = _MARK.sub(" ", text)
    text = _TITLE.sub(lambda match: _TITLES[match[1]], text)
    text = spell_numbers(_QUOTES.sub(" ", _DOUBLED.sub("'", text)))
    text = "".join(c if c.isalpha() or c == "'" else " " for c in text)
    words = (word.strip("'") for word in text.split())
    return " ".join(_ABBREVIATIONS.get(word, word) for word in words if word)


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Mn", "Me", "Mc", "Cf"):  # accents; soft hyphens and joiners
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    return character


def spell_numbers(text: str) -> str:
    """Write every number of an upper-case text in words.

    Read are integers with or without thousands commas, decimals, money, ordinals, fractions
    below one, decades (1990S), times of day and negative numbers.  Four digits from 1100 to
    2099 are read as a year, digits after a leading zero and numbers of more than 15 digits one
    by one, other numbers as cardinals with AND (ONE HUNDRED AND ONE).

    Args:
        text: upper case with ASCII digits

    Returns:
        The text without digits; words of one number are parted by single spaces.
    """
    text = _DAY_HALF.sub(r" \1 M", text)
    text = _CLOCK.sub(_clock, text)
    text = _MONEY.sub(_money, text)
    text = _ORDINAL.sub(lambda match: f" {_read(match[1], 'ordinal')} ", text)
    text = _PLURAL.sub(lambda match: f" {_plural(_integer(match[1]))} ", text)
    text = _FRACTION.sub(_fraction, text)
    text = _MINUS.sub(" MINUS ", text)
    text = _NUMBER_SIGN.sub(" NUMBER ", text)
    text = _DECIMAL.sub(_decimal, text)
    return _CARDINAL.sub(lambda match: f" {_integer(match[0])} ", text)


def _clock(match: re.Match[str]) -> str:
    hour, minute, half = match.groups()
    if minute == "00":
        end = "" if half else "O'CLOCK"
    else:
        end = f"OH {_read(minute[1])}" if minute[0] == "0" else _read(minute)
    return f" {_read(str(int(hour)))} {end}{half or ''} "


def _money(match: re.Match[str]) -> str:
    sign, amount, decimals, magnitude = match.groups()
    singular, plural, coin, coins = _CURRENCIES[sign]
    whole = _read(amount)
    if magnitude:
        point = f" POINT {_digits(decimals)}" if decimals else ""
        return f" {whole}{point} {_MAGNITUDES[magnitude]} {plural} "
    if not decimals or not int(decimals):
        return f" {whole} {singular if whole == 'ONE' else plural} "
    if len(decimals) != 2:
        return f" {whole} POINT {_digits(decimals)} {plural} "
    change = f"{_read(str(int(decimals)))} {coin if decimals == '01' else coins}"
    if whole == "ZERO":
        return f" {change} "
    return f" {whole} {singular if whole == 'ONE' else plural} AND {change} "


def _fraction(match: re.Match[str]) -> str:
    whole, numerator, denominator = match.groups()
    if int(numerator) >= int(denominator):  # 24/7 and the like are no fractions
        return match[0]
    part = {"2": "HALF", "4": "QUARTER"}.get(denominator) or _read(denominator, "ordinal")
    if numerator != "1":
        words = f"{_read(numerator)} {_plural(part)}"
    else:
        words = f"A {part}" if whole else f"ONE {part}"
    return f" {_read(whole)} AND {words} " if whole else f" {words} "


def _decimal(match: re.Match[str]) -> str:
    whole, rest, bare = match.groups()
    if bare:
        return f" POINT {_digits(bare)} "
    parts = rest.split(".")[1:]
    if len(parts) == 1:
        return f" {_read(whole)} POINT {_digits(parts[0])} "
    return " " + " POINT ".join(_read(part) for part in (whole, *parts)) + " "


def _integer(number: str) -> str:
    is_year = len(number) == 4 and number.isdigit() and 1100 <= int(number) <= 2099
    return _read(number, "year" if is_year else "cardinal")


def _plural(words: str) -> str:
    if words.endswith("HALF"):
        return words[:-1] + "VES"
    if words.endswith("Y"):
        return words[:-1] + "IES"
    return words + ("ES" if words.endswith("X") else "S")


def _digits(number: str) -> str:
    return " ".join(_read(digit) for digit in number)


@lru_cache(maxsize=4096)
def _read(number: str, kind: str = "cardinal") -> str:
    digits = number.replace(",", "")
    if len(digits) > 1 and (len(digits) > _LONGEST_CARDINAL or digits[0] == "0"):
        return _digits(digits)
    words: str = num2words(int(digits), to=kind)
    return " ".join(words.upper().replace(",", " ").replace("-", " ").split())
