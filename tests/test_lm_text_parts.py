"""A text in parts: whole sentences, in order, with gaps, and nothing twice."""

import lzma
from pathlib import Path

import pytest

from asr.errors import TextError
from lm.__main__ import main
from lm.text_parts import PartSizes, first_words, repeated, split_text

# 30 sentences of 1, 2, 3, 1, 2, 3, ... words: 60 words.
SENTENCES = [" ".join([f"W{n}"] * (n % 3 + 1)) for n in range(30)]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.xz"
    lines = [sentence.replace(" ", "  ") for sentence in SENTENCES]
    lines.insert(4, "")
    path.write_bytes(lzma.compress("\n".join(lines).encode()))
    return path


def test_parts_are_stretches_with_gaps(text: Path) -> None:
    parts = split_text(text, PartSizes(dev=6, test=12, gap=6))
    # Six words are three sentences here.
    assert parts.test == SENTENCES[24:]
    assert parts.dev == SENTENCES[18:21]
    assert parts.training == SENTENCES[:15]
    parts = split_text(text, PartSizes(training=6, test=12))
    assert (parts.training, parts.dev, parts.test) == (SENTENCES[:3], [], SENTENCES[24:])


def test_parts_hold_whole_sentences(text: Path) -> None:
    parts = split_text(text, PartSizes(training=8, dev=4, test=7, gap=2))
    # Borders fall into sentences: what does not fit is left out.
    assert parts.training == SENTENCES[:4]
    assert parts.test == SENTENCES[27:]
    assert parts.dev == SENTENCES[24:26]
    assert not {*parts.training} & {*parts.dev, *parts.test}


@pytest.mark.parametrize(
    "sizes",
    [
        PartSizes(training=49, test=12),
        PartSizes(dev=30, test=12, gap=9),
        PartSizes(test=0),
        PartSizes(test=1, gap=-1),
    ],
)
def test_too_short_texts_and_impossible_sizes_are_refused(text: Path, sizes: PartSizes) -> None:
    with pytest.raises(TextError, match=r"text\.xz: has 60 words for .* are needed"):
        split_text(text, sizes)


def test_first_words() -> None:
    assert first_words(SENTENCES, 6) == SENTENCES[:3]
    assert first_words(SENTENCES, 8) == SENTENCES[:4]
    assert first_words(SENTENCES, 1000) == SENTENCES


def test_repeated_sentences_are_counted() -> None:
    training = ["A B C", "A B", "D E F"]
    assert repeated(["A B C", "A B C", "A B", "X Y Z"], training, min_words=3) == (2, 3)
    assert repeated([], training, min_words=3) == (0, 0)


def test_command(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "parts"
    sizes = ["--test-words", "12", "--gap-words", "3"]
    words = ["--vocabulary", "3", "--vocabulary-from", "12"]
    assert main(["split", str(text), str(folder), *sizes, *words]) == 0
    out = capsys.readouterr().out.splitlines()
    assert (folder / "words.txt").read_text() == "W2\nW5\nW1\n"
    assert (folder / "train.txt").read_text() == "".join(f"{line}\n" for line in SENTENCES[:23])
    assert out == [
        f"{folder / 'train.txt'}: 23 sentences, 45 words, {37 / 45:.2%} unknown",
        f"{folder / 'test.txt'}: 6 sentences, 12 words, 100.00% unknown",
        "0 of 0 held-out sentences of 8 words or more are in train.txt, too",
    ]
    assert not (folder / "dev.txt").exists()
    assert main(["split", str(text), str(folder), "--test-words", "60"]) == 2
    assert capsys.readouterr().err.startswith(f"lm: error: {text}: has 60 words")
