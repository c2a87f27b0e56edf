import torch
from torch import Tensor

from asr.decode.greedy import greedy
from asr.decode.hypothesis import Hypothesis
from asr.decode.nearest_words import NearestWords
from asr.lexicon import Lexicon
from asr.text import PhoneTokenizer

LEXICON = Lexicon(
    {
        "CAT": [("K", "AE", "T")],
        "KITTEN": [("K", "IH", "T", "AX", "N")],
        "TAN": [("T", "AE", "N")],
        "A": [("AX",)],
        "KIT": [("K", "IH", "T")],
        "TEN": [("T", "EH", "N")],
    }
)
TOKENIZER = PhoneTokenizer(LEXICON, word_ends=True)


def heard(text: str) -> Tensor:
    """Log-probabilities (T, V) of phones, `|` for the end of a word, with a blank after each."""
    symbols = text.split()
    probabilities = torch.full((2 * len(symbols), TOKENIZER.n_tokens), 0.01)
    for place, symbol in enumerate(symbols):
        token = TOKENIZER.n_tokens - 1 if symbol == "|" else TOKENIZER.symbols.index(symbol)
        probabilities[2 * place, token] = probabilities[2 * place + 1, 0] = 0.9
    return (probabilities / probabilities.sum(dim=1, keepdim=True)).log()


def decode(log_probs: Tensor, *, nearest: bool = True) -> Hypothesis:
    (found,) = greedy(
        log_probs[None],
        torch.tensor([len(log_probs)]),
        TOKENIZER,
        0.04,
        nearest=NearestWords(TOKENIZER) if nearest else None,
    )
    return found


def test_words_that_are_none_become_the_nearest_and_others_stay() -> None:
    said = heard("K AE T | K IH N AX N | T AE N |")
    plain, found = decode(said, nearest=False), decode(said)
    assert plain.text == "CAT K-IH-N-AX-N TAN"
    assert found.text == "CAT KITTEN TAN"
    assert (found.tokens, found.score) == (plain.tokens, plain.score)
    assert found.words[0] == plain.words[0]
    assert found.words[2] == plain.words[2]
    assert 0 < found.words[1].confidence < plain.words[1].confidence
    assert found.words[0].end <= found.words[1].start < found.words[1].end <= found.words[2].start


def test_what_the_probabilities_prefer_decides_between_equally_near_words() -> None:
    said = heard("T K N |")
    assert decode(said, nearest=False).text == "T-K-N"
    for phone, word in (("AE", "TAN"), ("EH", "TEN")):
        likelier = said.clone()
        likelier[2, TOKENIZER.symbols.index(phone)] = -1.0
        assert decode(likelier).text == word


def test_phones_without_an_end_between_them_can_be_two_words() -> None:
    said = heard("K AE T T AE N |")
    assert decode(said, nearest=False).text == "K-AE-T-T-AE-N"
    found = decode(said)
    assert found.text == "CAT TAN"
    times = [time for word in found.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= len(said) * 0.04


def test_the_last_word_needs_no_end() -> None:
    assert decode(heard("T EH N | K IH N AX N")).text == "TEN KITTEN"


def test_silence_stays_empty_and_one_phone_is_no_word_by_its_name() -> None:
    assert decode(heard("")).text == ""
    assert decode(heard("K |"), nearest=False).text == "K"
    assert decode(heard("K |")).text == "A"
    assert decode(heard("AX |")).text == "A"


def test_where_nothing_of_the_dictionary_is_possible_the_phones_stay() -> None:
    said = heard("K N |")
    only = torch.full_like(said, -torch.inf)
    best = said.argmax(dim=1, keepdim=True)
    only.scatter_(1, best, 0.0)
    assert decode(only).text == "K-N"
