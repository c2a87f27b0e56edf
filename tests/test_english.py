"""Transcripts as they are spoken."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asr.english import normalize, spell_numbers


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("It’s “his” dog—mine’s gone…", "IT'S HIS DOG MINE'S GONE"),
        ("‘Bravo!’ Mr. Pickwick exclaimed.", "BRAVO MISTER PICKWICK EXCLAIMED"),
        ("a well‑ordered four–team side-tap", "A WELL ORDERED FOUR TEAM SIDE TAP"),
        ("naïve café, Ærø, Straße, ﬁne", "NAIVE CAFE AERO STRASSE FINE"),
        ("AT&T & co.", "AT AND T AND CO"),
        ("'Tis the boys' rock 'n' roll", "TIS THE BOYS ROCK N ROLL"),
        ("\"\"Bida\"\" and ''quote'', don''t", "BIDA AND QUOTE DON'T"),
        ("co\u00adoperate zero\u200bwidth", "COOPERATE ZEROWIDTH"),
        ("the U.S.A. at 5 p.m., i.e. late", "THE U S A AT FIVE P M I E LATE"),
        ("St. James vs. Dr. No, etc.", "SAINT JAMES VERSUS DOCTOR NO ET CETERA"),
        ("in St.", "IN ST"),
        ("<unk> so [noise] it [is] </s>", "SO IT IS"),
        ("f(x) = a + b @ 20 °C", "F X EQUALS A PLUS B AT TWENTY DEGREES C"),
        ("", ""),
        (" -- ''' ... ", ""),
    ],
)
def test_normalize(written: str, spoken: str) -> None:
    assert normalize(written) == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("1st 2nd 3rd 21st 100th", "FIRST SECOND THIRD TWENTY FIRST ONE HUNDREDTH"),
        ("3.14 and 10,000", "THREE POINT ONE FOUR AND TEN THOUSAND"),
        ("0.05 .5 1.2.10", "ZERO POINT ZERO FIVE POINT FIVE ONE POINT TWO POINT TEN"),
        ("1990s, 1990's, '90s, 1900s", "NINETEEN NINETIES " * 2 + "NINETIES NINETEEN HUNDREDS"),
        ("1908 1500 2005 2024", "NINETEEN OH EIGHT FIFTEEN HUNDRED TWO THOUSAND AND FIVE "
         "TWENTY TWENTY FOUR"),
        ("1,908 101 999999", "ONE THOUSAND NINE HUNDRED AND EIGHT ONE HUNDRED AND ONE NINE HUNDRED "
         "AND NINETY NINE THOUSAND NINE HUNDRED AND NINETY NINE"),
        ("5%, 99.5 %", "FIVE PERCENT NINETY NINE POINT FIVE PERCENT"),
        ("$5 $1 $5.50 $0.01 £2.05", "FIVE DOLLARS ONE DOLLAR FIVE DOLLARS AND FIFTY CENTS ONE CENT "
         "TWO POUNDS AND FIVE PENCE"),
        ("$3.5 million, €2bn, £10k, $1,000", "THREE POINT FIVE MILLION DOLLARS TWO BILLION EUROS "
         "TEN THOUSAND POUNDS ONE THOUSAND DOLLARS"),
        ("$5.00 $1.375", "FIVE DOLLARS ONE POINT THREE SEVEN FIVE DOLLARS"),
        ("10:30 9:05pm 9:00 9:00 am", "TEN THIRTY NINE OH FIVE P M NINE O'CLOCK NINE A M"),
        ("½ 2½ 2 1/4 3/4", "ONE HALF TWO AND A HALF TWO AND A QUARTER THREE QUARTERS"),
        ("24/7 9/11 3/4/2010", "TWENTY FOUR SEVEN NINE ELEVEN THREE FOUR TWENTY TEN"),
        ("-5 1914-18 Boeing-747", "MINUS FIVE NINETEEN FOURTEEN EIGHTEEN BOEING SEVEN HUNDRED AND "
         "FORTY SEVEN"),
        ("007 No. 5 #1 MP3 5m²", "ZERO ZERO SEVEN NUMBER FIVE NUMBER ONE MP THREE FIVE M SQUARED"),
        ("1234567890123456", "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE ZERO ONE TWO THREE FOUR "
         "FIVE SIX"),
        ("٤٢ ４２", "FORTY TWO FORTY TWO"),
        ("March 16, 1908.", "MARCH SIXTEEN NINETEEN OH EIGHT"),
    ],
)  # fmt: skip
def test_numbers(written: str, spoken: str) -> None:
    assert normalize(written) == spoken.strip()


def test_spell_numbers_leaves_no_digit_of_a_long_mixture() -> None:
    text = "A1B2 $ 5.5.5 1,2,3 1,23 12,345,678.9 1ST2ND 5:99 25:00 00:00 1/0 0/5 $.5 '5'S ,5 5, .5."
    assert not re.search(r"\d", spell_numbers(text))


def test_letters_of_other_scripts_stay() -> None:
    assert normalize("Привет, мир 5 日本") == "ПРИВЕТ МИР FIVE 日本"


@given(st.text() | st.text(alphabet="0123456789 .,:/$£%'-sStTnNhHpPmMaA#½²()&", max_size=40))
@example("'mr'")
@example("m.r. m'r MR.")
@example("ŉ ǅ ß İ")
def test_normalize_is_idempotent_and_clean(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert not re.search(r"[a-z0-9]|^ | $|  |(^| )'|'( |$)", once)
    if text.isascii():
        assert re.fullmatch(r"[A-Z' ]*", once)
