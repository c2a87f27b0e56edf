"""Beam search over phones: words by their pronunciations, those that sound alike by the model."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.config import DecodingConfig
from asr.decode.beam import BeamOptions, BeamSearch
from asr.decode.decoder import build_decoder
from asr.decode.pronunciations import PronouncedWords, pronounced_words
from asr.decode.reference import WordScorer, prefix_beam_search
from asr.decode.spelling import Spelling
from asr.errors import ConfigError, LanguageModelError, TextError
from asr.lexicon import Lexicon, dictionary_lines
from asr.models.recognizer import Recognizer
from asr.text import WORD_END, CharTokenizer, PhoneTokenizer
from lm.arpa import write_arpa
from lm.table import NgramTable
from tests.beam_search import check, random_frames, run, unlimited
from tests.lm_models import small_model

LEXICON = Lexicon(
    {
        "TWO": [("T", "U")],
        "TO": [("T", "U"), ("T", "A")],
        "TOO": [("T", "U")],
        "A": [("A",), ("A", "T")],
        "AT": [("A", "T")],
        "TUTU": [("T", "U", "T", "U")],
    }
)
PHONES = PhoneTokenizer(LEXICON, word_ends=True)
SENTENCES = [
    ["TWO", "TUTU"],
    ["A", "TUTU"],
    ["TO", "A", "TUTU"],
    ["AT", "TWO"],
    ["A", "TUTU", "TOO"],
    ["TO", "TO"],
]
TABLE = NgramTable.from_model(small_model(SENTENCES, 3))


class _Spelled:
    """The table, asked for texts of tokens in place of words."""

    def __init__(self, words: dict[str, str]) -> None:
        self._words = words
        self.start, self.step, self.finish = TABLE.start, TABLE.step, TABLE.finish

    def word_id(self, text: str) -> int:
        return TABLE.word_id(self._words[text])


def _spelled(words: PronouncedWords) -> dict[str, str]:
    """All words by the characters of their tokens."""
    begin = {s: i for i, s in enumerate(words.symbols)}  # the last is that which begins a word
    inside = {s: i for i, s in reversed(list(enumerate(words.symbols)))}
    ends = [i for i, s in enumerate(words.symbols) if s == WORD_END]
    found = {}
    for word in words.words:
        for first, *rest in LEXICON.pronunciations(word):
            for end in ends:
                tokens = [begin[first], *[inside[phone] for phone in rest], end]
                with contextlib.suppress(TextError):
                    found["".join(map(chr, tokens))] = words.word(tokens)
    return found


def _tokens(search: BeamSearch) -> PronouncedWords:
    assert isinstance(search.tokenizer, PronouncedWords)
    return search.tokenizer


def _words(tokenizer: PhoneTokenizer, lexicon: Lexicon, words: list[str]) -> PronouncedWords:
    falling = -np.arange(len(words), dtype=np.float32)
    ids = np.arange(len(words), dtype=np.int32)
    return pronounced_words(tokenizer, lexicon, words, ids, falling)


def _said(text: str, sharpness: float = 12.0, seed: int = 0) -> torch.Tensor:
    """Log-probabilities of phones that say a text, a blank between them, with some noise."""
    tokens = [0] + [part for token in PHONES.encode(text) for part in (token, 0)]
    logits = torch.randn(len(tokens), PHONES.n_tokens, generator=torch.manual_seed(seed))
    logits[torch.arange(len(tokens)), tokens] += sharpness
    return logits.log_softmax(1)


@pytest.mark.parametrize("width", [2, 5, 1000])
@given(seed=st.integers(0, 10**6), n_frames=st.integers(1, 8))
def test_the_search_is_the_readable_one(width: int, seed: int, n_frames: int) -> None:
    options = unlimited(width, alpha=0.7, beta=0.5)
    search = BeamSearch(PHONES, options, table=TABLE)
    words = _tokens(search)
    unigrams = TABLE.arc_log_probs()[: TABLE.n_words].tolist()
    spelled = _spelled(words)
    # The readable scorer knows words by their texts, here a character for each token.
    spelling = Spelling(("", *map(chr, range(1, words.n_tokens))), words.spelling.starts)
    scorer = WordScorer(
        spelling,
        model=_Spelled(spelled),  # type: ignore[arg-type]
        words=spelled,
        alpha=0.7,
        beta=0.5,
        look_ahead={text: unigrams[TABLE.word_id(word)] for text, word in spelled.items()},
    )
    frames = random_frames(min(n_frames, 5 if width > 100 else 8), PHONES.n_tokens, seed, 1.5)
    expected = prefix_beam_search(frames[:, words.columns].tolist(), [scorer], width)
    if expected:
        check(run(search, frames), expected, options)


@pytest.mark.parametrize("text", ["TWO TUTU", "A TUTU TOO", "AT TWO", "TO A TUTU", "TO TO"])
def test_the_language_model_chooses_between_words_that_sound_alike(text: str) -> None:
    search = BeamSearch(PHONES, BeamOptions(alpha=1.0, n_best=3), table=TABLE)
    frames = _said(text)
    best, *others = search.decode(frames[None], torch.tensor([len(frames)]), 0.04)[0]
    assert best.text == text
    assert [word.text for word in best.words] == text.split()
    assert list(best.tokens) == PHONES.encode(text)
    assert all(other.text != text for other in others)
    ends = [word.end for word in best.words]
    assert ends == sorted(ends)


def test_the_second_pronunciation_is_the_same_word() -> None:
    search = BeamSearch(PHONES, BeamOptions(alpha=1.0, n_best=20), table=TABLE)
    symbols = PHONES.symbols
    tokens = [0] + [p for s in ("T", "A", "|") for p in (symbols.index(s), 0)]
    logits = torch.zeros(len(tokens), PHONES.n_tokens)
    logits[torch.arange(len(tokens)), tokens] = 6.0
    found = search.decode(logits.log_softmax(1)[None], torch.tensor([len(tokens)]), 0.04)[0]
    assert found[0].text == "TO"
    texts = [each.text for each in found]
    assert len(set(texts)) == len(texts)


def test_speech_that_breaks_off_in_a_word_keeps_the_words_before() -> None:
    search = BeamSearch(PHONES, BeamOptions(alpha=1.0, width=4), table=TABLE)
    frames = _said("TO A TUTU", sharpness=20.0)[:-6]
    assert search.decode(frames[None], torch.tensor([len(frames)]), 0.04)[0][0].text == "TO A"


def test_without_a_language_model_the_lexicon_alone_decides() -> None:
    search = BeamSearch(PHONES, BeamOptions(width=8, n_best=5))
    frames = _said("TUTU AT")
    found = search.decode(frames[None], torch.tensor([len(frames)]), 0.04)[0]
    assert found[0].text in ("TUTU AT", "TUTU A")


def test_hotwords_are_words_that_sound_like_others() -> None:
    options = BeamOptions(alpha=1.0)
    frames = _said("TWO TUTU")
    search = BeamSearch(PHONES, options, table=TABLE, hotwords={"TOO TUTU": 20.0})
    assert search.decode(frames[None], torch.tensor([len(frames)]), 0.04)[0][0].text == "TOO TUTU"
    with pytest.raises(ConfigError, match=r"hotword 'TWOO'.*no 'TWOO'"):
        BeamSearch(PHONES, options, table=TABLE, hotwords={"TWOO": 1.0})


def test_a_hotword_that_the_language_model_lacks_is_recognised(tmp_path: Path) -> None:
    lexicon = LEXICON.with_words({"UTA": [("U", "T", "A")]})
    phones = PhoneTokenizer(lexicon, word_ends=True)
    file = tmp_path / "words.phones.lexicon"
    without = BeamSearch(phones, BeamOptions(alpha=1.0), table=TABLE, lexicon_file=file)
    written = file.read_bytes()
    search = BeamSearch(
        phones, BeamOptions(alpha=1.0), table=TABLE, hotwords={"UTA AT": 9.0}, lexicon_file=file
    )
    assert _tokens(search).unknown("UTA TWO") == []
    logits = torch.zeros(18, phones.n_tokens)
    said = [p for s in (*"UTA|", *"AT|") for p in (phones.symbols.index(s), 0)]
    logits[torch.arange(len(said)), said] = 8.0
    logits[len(said) :, 0] = 8.0
    frames = logits.log_softmax(1)[None]
    texts = [each.decode(frames, torch.tensor([18]), 0.04)[0][0].text for each in (without, search)]
    assert "UTA" not in texts[0]
    assert texts[1] == "UTA AT"
    assert file.read_bytes() == written  # the tables of all the other runs


def test_a_hotword_that_no_dictionary_has_is_pronounced() -> None:
    recognizer = Recognizer.load("default")
    tokenizer = recognizer.tokenizer
    assert isinstance(tokenizer, PhoneTokenizer)
    assert not tokenizer.lexicon.pronunciations("SHIMERDA")
    search = BeamSearch(tokenizer, words=["MISTER", "IS"], hotwords={"SHIMERDA": 5.0})
    words = _tokens(search)
    assert words.decode(words.encode("MISTER SHIMERDA")) == "MISTER SHIMERDA"


def test_columns_belong_to_the_phones() -> None:
    words = _words(PHONES, LEXICON, ["TWO", "TO", "TOO", "AT"])
    assert words.symbols == (
        *("<blank>", "A", "T", "U"),
        *("|", "|", "|"),
        *("A", "T", "U"),
    )
    frames = torch.arange(5.0)
    assert words.expand(frames).tolist() == [0, 1, 2, 3, 4, 4, 4, 1, 2, 3]
    for text in ("TWO TOO TO", "AT"):
        assert words.decode(words.encode(text)) == text
    assert words.unknown("TUTU AT A") == ["TUTU", "A"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match=r"without word ends.*--word-ends"):
        _words(PhoneTokenizer(LEXICON), LEXICON, ["TO"])
    with pytest.raises(LanguageModelError, match=r"phones that the model does not say \(X\)"):
        _words(PHONES, Lexicon({"X": [("X",)]}), ["X"])
    with pytest.raises(LanguageModelError, match="pronounces none of the 1 words"):
        _words(PHONES, LEXICON, ["to"])
    with pytest.raises(ConfigError, match=r"unknown_score = -5\.0: a model of phones cannot"):
        BeamSearch(PHONES, BeamOptions(unknown_score=-5.0), table=TABLE)
    with pytest.raises(ConfigError, match="the model does not say phones"):
        BeamSearch(CharTokenizer(), pronunciations=LEXICON)


def test_a_decoder_reads_a_dictionary(tmp_path: Path) -> None:
    dictionary = tmp_path / "words.dict"
    lines = [
        line for w in ("TO", "TUTU") for line in dictionary_lines(w, LEXICON.pronunciations(w))
    ]
    dictionary.write_text("".join(lines))
    write_arpa(small_model(SENTENCES, 3), tmp_path / "words.arpa")
    config = DecodingConfig(lm=str(tmp_path / "words.arpa"), lexicon=str(dictionary), beam=8)
    for _ in range(2):  # made, and read again
        decoder = build_decoder(config, PHONES, 0.04)
        frames = _said("TWO TUTU")
        assert decoder.decode([frames], [1.0])[0][0].text == "TO TUTU"
    assert (tmp_path / "words.phones.lexicon").exists()
    everything = build_decoder(config.model_copy(update={"lexicon": ""}), PHONES, 0.04)
    assert everything.decode([_said("TWO TUTU")], [1.0])[0][0].text == "TWO TUTU"
