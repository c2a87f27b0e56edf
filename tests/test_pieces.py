"""Word pieces as symbols: round trips, and characters that no piece covers."""

from pathlib import Path

import pytest

from asr.errors import TextError
from asr.pieces import WordPieces, read_pairs, write_pairs
from asr.text import train_sentencepiece


@pytest.fixture
def pieces() -> WordPieces:
    return WordPieces(train_sentencepiece(["a dog runs .", "two dogs run !"] * 4, 24))


def test_there_and_back(pieces: WordPieces) -> None:
    found = pieces.encode("two dogs  run .")
    assert "".join(found) == "▁two▁dogs▁run▁."
    assert pieces.decode(found) == "two dogs run ."
    assert set(found) <= set(pieces.symbols)
    assert len(pieces.symbols) == 23


def test_what_no_piece_covers_is_left_out(pieces: WordPieces) -> None:
    assert pieces.encode("aé Ωdog") == pieces.encode("a dog")
    assert pieces.encode("éΩ") == pieces.encode(" \n") == ()
    assert pieces.encode("\ta\u00a0dog\n") == pieces.encode("a dog")
    assert pieces.encode("") == ()
    assert pieces.decode(()) == ""


def test_loads_what_was_saved(pieces: WordPieces, tmp_path: Path) -> None:
    pieces.tokenizer.save(tmp_path)
    assert WordPieces.load(tmp_path).encode("a dog") == pieces.encode("a dog")
    with pytest.raises(TextError, match="no tokenizer"):
        WordPieces.load(tmp_path / "nothing")


def test_pairs_as_files_and_back(tmp_path: Path) -> None:
    training = [("a dog runs .", "two dogs run !"), ("two dogs run !", "a dog")] * 4
    parts = {"train": training, "test": [("a dog", "run"), ("é", "run"), ("a", "é")]}
    write_pairs(tmp_path, parts, ("one", "other"), 24)
    assert (tmp_path / "test.other").read_text(encoding="utf-8") == "run\nrun\né\n"
    pieces = WordPieces.load(tmp_path / "tokenizer")
    assert len(pieces.symbols) == 23
    # One pair has a source of which no piece is known.
    found = read_pairs(tmp_path, "test", ("one", "other"), pieces)
    assert found == [(pieces.encode("a dog"), pieces.encode("run")), (pieces.encode("a"), ())]
