"""Tokenizers: what goes in comes out, and what cannot go in is named."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import TextError
from asr.lexicon import Lexicon
from asr.manifest import read_lines
from asr.text import (
    BLANK,
    WORD_END,
    CharTokenizer,
    PhoneTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    frames_needed,
    load_tokenizer,
    normalize,
    train_sentencepiece,
)

LINES = [
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG",
    "IT'S NOT THE DOG'S FAULT THAT THE FOX JUMPS HIGHER AND HIGHER",
    "PACK MY BOX WITH FIVE DOZEN LIQUOR JUGS SAID THE OTHER QUICK FOX",
    "THE OTHER DOGS WERE BARKING AT THE OTHER FOXES IN THE WOODS",
]
WORDS = st.text(alphabet="'ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=12)
TEXTS = st.lists(WORDS, max_size=8).map(" ".join)


@pytest.fixture(scope="module", params=["characters", "bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "characters":
        return CharTokenizer()
    return train_sentencepiece(LINES, 45, request.param)


def _phones(*, spell_unknown: bool = False, word_ends: bool = False) -> PhoneTokenizer:
    entries: dict[str, list[tuple[str, ...]]] = {
        "READ": [("R", "IY", "D"), ("R", "EH", "D")],
        "THE": [("DH", "AH")],
        "A": [("AH",)],
        "A.": [("EY",)],
        "B": [("B", "IY")],
    }
    return PhoneTokenizer(Lexicon(entries, spell_unknown=spell_unknown), word_ends=word_ends)


@given(text=TEXTS)
def test_text_goes_through_every_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert all(0 < token < tokenizer.n_tokens for token in tokens)
    assert tokenizer.unknown(text) == []


@given(data=st.data())
def test_words_of_any_tokens_are_the_decoded_text(
    tokenizer: Tokenizer, data: st.DataObject
) -> None:
    # What a recogniser emits is no encoding of any text: word marks at odd places, none at all.
    tokens = data.draw(st.lists(st.integers(1, tokenizer.n_tokens - 1), max_size=20))
    words = tokenizer.split_words(tokens)
    assert " ".join(word for word, _, _ in words) == tokenizer.decode(tokens)
    for word, start, end in words:
        assert tokenizer.decode(tokens[start:end]) == word
    ends = [0, *(end for _, _, end in words)]
    assert all(last <= start < end for last, (_, start, end) in zip(ends, words, strict=False))


def test_split_words_by_hand() -> None:
    tokenizer = CharTokenizer()
    tokens = tokenizer.encode(" IT'S  A ")
    assert tokenizer.split_words(tokens) == [("IT'S", 1, 5), ("A", 7, 8)]
    assert tokenizer.split_words([]) == []


def test_characters_keep_their_ids() -> None:
    tokenizer = CharTokenizer()
    assert tokenizer.symbols == (BLANK, *" 'ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert tokenizer.encode("A Z'") == [3, 1, 28, 2]
    assert tokenizer.decode([0, 3, 0, 1, 1, 4, 1]) == "A B"


def test_characters_without_space_mark_no_words() -> None:
    tokenizer = CharTokenizer("日本語")
    assert not tokenizer.marks_words
    assert tokenizer.decode([1, 0, 3]) == "日語"
    assert tokenizer.split_words([1, 3]) == [("日", 0, 1), ("語", 1, 2)]


@pytest.mark.parametrize("characters", ["", "AA", ["A", "BC"]])
def test_bad_characters_are_refused(characters: str | list[str]) -> None:
    with pytest.raises(TextError, match="different single characters"):
        CharTokenizer(characters)


def test_unknown_characters_are_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(TextError, match="character 'É' in 'CAFÉ 5'"):
        tokenizer.encode("CAFÉ 5")
    assert tokenizer.unknown("CAFÉ 5 É5") == ["É", "5"]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sentencepiece_agrees_with_the_library(kind: str) -> None:
    tokenizer = train_sentencepiece(LINES, 45, kind)  # type: ignore[arg-type]
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer._model)
    assert tokenizer.n_tokens == 45 == len(tokenizer.symbols)
    assert tokenizer.symbols[0] == BLANK
    assert list(tokenizer.symbols[1:]) == [processor.id_to_piece(i) for i in range(1, 45)]
    for line in LINES:
        assert tokenizer.encode(line) == processor.encode(line)
        assert tokenizer.decode(tokenizer.encode(line)) == processor.decode(processor.encode(line))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sentencepiece_training_is_deterministic(kind: str) -> None:
    first, second = (train_sentencepiece(LINES, 45, kind) for _ in range(2))  # type: ignore[arg-type]
    assert first._model == second._model


def test_a_long_line_is_learned_from() -> None:
    # SentencePiece leaves out lines beyond its limit, which is 4,192 bytes unless told.
    tokenizer = train_sentencepiece(["A B", "Q" + " XYZ" * 2000], 10)
    assert tokenizer.unknown("QXYZ") == []


@pytest.mark.parametrize(
    ("texts", "n_tokens", "message"),
    [
        ([], 30, "no text"),
        (["  "], 30, "no text"),
        (LINES, 20, "20 tokens are too few; 27 different characters need at least 29"),
        (LINES, 5000, "Vocabulary size too high"),
    ],
)
def test_impossible_pieces_are_refused(texts: list[str], n_tokens: int, message: str) -> None:
    with pytest.raises(TextError, match=message) as caught:
        train_sentencepiece(texts, n_tokens)
    assert "\n" not in str(caught.value)


def test_foreign_sentencepiece_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="not a SentencePiece model"):
        SentencePieceTokenizer(b"garbage")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_prefix=str(tmp_path / "m"),
        vocab_size=40,
        minloglevel=2,
    )
    with pytest.raises(TextError, match="special pieces"):
        SentencePieceTokenizer((tmp_path / "m.model").read_bytes())


def test_phones_are_those_of_the_first_pronunciation() -> None:
    tokenizer = _phones()
    assert tokenizer.symbols == (BLANK, "AH", "B", "D", "DH", "EH", "EY", "IY", "R")
    tokens = tokenizer.encode("READ THE")
    assert tokenizer.decode(tokens) == "R IY D DH AH"
    assert tokenizer.split_words(tokens)[1] == ("IY", 1, 2)
    assert not tokenizer.marks_words


def test_phones_with_word_ends_are_words() -> None:
    tokenizer = _phones(word_ends=True)
    assert tokenizer.symbols[-1] == WORD_END
    tokens = tokenizer.encode("READ THE A")
    assert [tokenizer.symbols[token] for token in tokens] == [
        "R",
        "IY",
        "D",
        "|",
        "DH",
        "AH",
        "|",
        "AH",
        "|",
    ]
    assert tokenizer.decode(tokens) == "READ THE A"
    assert tokenizer.split_words(tokens) == [("READ", 0, 3), ("THE", 4, 6), ("A", 7, 8)]
    # By the second pronunciation; by none; without its end.
    ids = [
        tokenizer.symbols.index(symbol)
        for symbol in ["R", "EH", "D", "|", "DH", "IY", "|", "|", "B", "IY"]
    ]
    assert tokenizer.decode([0, *ids]) == "READ DH-IY B"
    assert tokenizer.decode([]) == ""
    with pytest.raises(TextError, match=r"phone '\|'"):
        PhoneTokenizer(Lexicon({"A": [(WORD_END,)]}), word_ends=True)


def test_words_outside_the_lexicon_are_named_or_spelled() -> None:
    with pytest.raises(TextError, match="word 'BAA' in 'THE BAA'"):
        _phones().encode("THE BAA")
    assert _phones().unknown("BAA THE B'A BAA") == ["BAA", "B'A"]
    spelling = _phones(spell_unknown=True)
    assert spelling.decode(spelling.encode("B'A A")) == "B IY EY AH"
    assert spelling.unknown("BAA BOA ''") == ["BOA", "''"]


@pytest.mark.parametrize(
    "make",
    [
        CharTokenizer,
        lambda: CharTokenizer("日本語"),
        lambda: train_sentencepiece(LINES, 45, "unigram"),
        _phones,
        lambda: _phones(spell_unknown=True),
        lambda: _phones(word_ends=True),
    ],
)
def test_a_saved_tokenizer_is_the_same(make: Callable[[], Tokenizer], tmp_path: Path) -> None:
    tokenizer = make()
    tokenizer.save(tmp_path / "new")
    loaded = load_tokenizer(tmp_path / "new")
    assert type(loaded) is type(tokenizer)
    assert loaded.symbols == tokenizer.symbols
    for text in ("THE BA", "READ A", "日本"):
        assert loaded.unknown(text) == tokenizer.unknown(text)
        if not loaded.unknown(text):
            assert loaded.encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"kind": "characters"}', "damaged"),
        ('{"kind": "characters", "symbols": []}', "different single characters"),
        ('{"kind": "characters", "symbols": ["A", "B"]}', "damaged"),
        ('{"kind": "words", "symbols": ["<blank>", "B"]}', "kind 'words'"),
        ('{"kind": "sentencepiece", "symbols": ["<blank>", "B"]}', r"tokenizer\.model"),
        ('{"kind": "phones", "symbols": ["<blank>", "B"], "lexicon": 5}', "damaged"),
    ],
)
def test_damaged_tokenizers_are_refused(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TextError, match=message):
        load_tokenizer(tmp_path)


def test_a_model_of_other_symbols_is_refused(tmp_path: Path) -> None:
    train_sentencepiece(LINES, 45).save(tmp_path)
    fields = json.loads((tmp_path / "tokenizer.json").read_text())
    fields["symbols"][5] = "other"
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(TextError, match="symbols are not those"):
        load_tokenizer(tmp_path)


@given(st.lists(st.integers(1, 3), max_size=5))
def test_frames_needed_is_the_shortest_ctc_path(tokens: list[int]) -> None:
    def collapse(path: tuple[int, ...]) -> list[int]:
        return [token for token, _ in itertools.groupby(path) if token]

    length = frames_needed(tokens)
    for n_frames in range(min(length, 6)):
        assert all(collapse(p) != tokens for p in itertools.product(range(4), repeat=n_frames))
    path = list(tokens[:1])
    for before, token in itertools.pairwise(tokens):
        path += [0, token] if before == token else [token]
    assert len(path) == length
    assert collapse(tuple(path)) == tokens


def test_real_transcripts_need_nothing_but_letters(asr_data: Path) -> None:
    tokenizer = CharTokenizer()
    names = ["common_voice/manifest-train.tsv", "ljspeech_part/manifest.tsv"]
    names += ["cmu_arctic/manifest.tsv", "vctk_p239/manifest.tsv", "common_voice/manifest-dev.tsv"]
    for name in names:
        for line in read_lines(asr_data / name)[1:]:
            text = normalize(line.split("\t")[3])
            assert tokenizer.decode(tokenizer.encode(text)) == text != ""


def test_librispeech_is_normal_but_for_apostrophes_at_the_edge(asr_data: Path) -> None:
    changed = []
    for path in (asr_data / "LibriSpeech").rglob("*.trans.txt"):
        for line in read_lines(path):
            text = line.partition(" ")[2].strip()
            if normalize(text) != text:
                changed.append((text, normalize(text)))
    assert all(text.replace("' ", " ").removesuffix("'") == new for text, new in changed)
    assert len(changed) < 10


def test_pieces_of_real_text(asr_data: Path) -> None:
    folder = asr_data / "LibriSpeech" / "dev-clean-20spk"
    lines = [line.partition(" ")[2] for p in folder.rglob("*.txt") for line in read_lines(p)]
    for kind in ("bpe", "unigram"):
        tokenizer = train_sentencepiece(lines, 300, kind)
        for line in lines:
            tokens = tokenizer.encode(line)
            assert tokenizer.decode(tokens) == line
            assert [word for word, _, _ in tokenizer.split_words(tokens)] == line.split()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_short_texts_can_train_pieces(kind: str) -> None:
    words = ["ONE", "TWO", "SIX", "TEN"]
    tokenizer = train_sentencepiece(words, 11, kind)
    assert [tokenizer.decode(tokenizer.encode(word)) for word in words] == words
