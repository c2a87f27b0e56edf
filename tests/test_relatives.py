"""Words said as those that they are made of."""

import pytest

from asr.lexicon import Lexicon
from asr.relatives import Relatives

ENTRIES = {
    "SHRIMP": "SH R IH M P", "DOG": "D AO G", "CHURCH": "CH ER CH", "CARRY": "K AE R IY",
    "LOVE": "L AH V", "STOP": "S T AA P", "PASS": "P AE S", "TRADE": "T R EY D",
    "WATCHFUL": "W AA CH F AX L", "MERRY": "M EH R IY", "ABLE": "EY B AX L",
    "SAVORY": "S EY V ER IY", "NEIGHBOR": "N EY B ER", "RECOGNIZE": "R EH K AX G N AY Z",
    "DISPATCH": "D IH S P AE CH", "WORK": "W ER K", "HOUSE": "HH AW S",
    "RECEIVED": "R AX S IY V D", "NOMINATE": "N AA M AX N AX T", "HAPPY": "HH AE P IY",
    "PARCEL": "P AA R S AX L", "LIVE": "L IH V", "TRAVELED": "T R AE V AX L D",
}  # fmt: skip
SAID = {
    "SHRIMPS": "SH R IH M P S", "DOGS": "D AO G Z", "CHURCHES": "CH ER CH IH Z",
    "CARRIES": "K AE R IY Z", "CARRIED": "K AE R IY D", "CARRYING": "K AE R IY IH NG",
    "LOVED": "L AH V D", "LOVING": "L AH V IH NG", "STOPPED": "S T AA P T",
    "PASSING": "P AE S IH NG", "TRADED": "T R EY D AX D", "LOVER": "L AH V ER",
    "HAPPIEST": "HH AE P IY AX S T", "MERRILY": "M EH R AX L IY", "HAPPINESS": "HH AE P IY N AX S",
    "WATCHFULNESS": "W AA CH F AX L N AX S", "WATCHFULLY": "W AA CH F AX L IY",
    "UNLOVED": None, "UNHAPPY": "AH N HH AE P IY", "ABLY": "EY B L IY",
    "SAVOURY": "S EY V ER IY", "NEIGHBOURS": "N EY B ER Z", "RECOGNISED": "R EH K AX G N AY Z D",
    "DESPATCHED": "D IH S P AE CH T", "WORKHOUSE": "W ER K HH AW S",
    "WORKHOUSES": None, "DOG'S": "D AO G Z", "CHURCH'S": "CH ER CH IH Z", "DOGS'": None,
    "LIVEN'T": "L IH V N T", "DOG'LL": "D AO G AX L",
    "RECEIV'D": "R AX S IY V D", "STOPP'D": None, "PASS'D": "P AE S T",
    "NOMINATING": "N AA M AX N EY T IH NG", "TRAVELLED": "T R AE V AX L D",
    "PARCELS": "P AA R S AX L Z", "XYZZY": None, "S": None, "'S": None, "ING": None,
}  # fmt: skip


@pytest.mark.parametrize("word", SAID)
def test_words_are_said_as_their_relatives(word: str) -> None:
    entries = {name: [tuple(phones.split())] for name, phones in ENTRIES.items()}
    phones = SAID[word]
    expected = (tuple(phones.split()),) if phones else ()
    assert Relatives(Lexicon(entries)).pronunciations(word) == expected


def test_all_pronunciations_go_on_in_the_word_and_vowels_are_those_of_the_dictionary() -> None:
    lexicon = Lexicon({"LEAD": [("L", "IY", "D"), ("L", "EH", "D")], "CUT": [("K", "AH", "T")]})
    relatives = Relatives(lexicon)
    assert relatives.pronunciations("LEADS") == (("L", "IY", "D", "Z"), ("L", "EH", "D", "Z"))
    assert relatives.pronunciations("LEADED")[0] == ("L", "IY", "D", "AH", "D")


def test_a_word_with_an_apostrophe_has_letters_that_something_else_may_say() -> None:
    relatives = Relatives(Lexicon({"DOG": [("D", "AO", "G")]}))
    assert relatives.pronunciations("ROSTOV'S") == ()
    found = relatives.base("ROSTOV'S")
    assert found is not None
    base, rule = found
    assert base == "ROSTOV"
    assert rule(("R", "AA", "S", "T", "AA", "F")) == ("R", "AA", "S", "T", "AA", "F", "S")
    assert relatives.base("ROSTOV") is None
    assert relatives.base("'") is None
    # What stands for a letter that is not said: D'EPINAY, AG'IN.
    found = relatives.base("D'OG")
    assert found is not None
    assert found[0] == "DOG"
    assert found[1](("D", "AO", "G")) == ("D", "AO", "G")
