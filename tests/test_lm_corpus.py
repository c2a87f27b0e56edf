"""Reading text: words, characters, vocabulary limits, errors with file and line."""

import gzip
import lzma
from pathlib import Path

import pytest

from asr.errors import TextError
from lm.corpus import (
    SPACE,
    corpus_from_sentences,
    read_blocks,
    read_corpus,
    read_words,
    split_characters,
)


def _write(folder: Path, content: bytes, name: str = "text.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_ids_follow_kenlm_and_every_line_is_a_sentence(tmp_path: Path) -> None:
    corpus = read_corpus([_write(tmp_path, b"B  A\tB\r\n\n A\x00C\nlast")])
    assert corpus.vocabulary == ("<unk>", "<s>", "</s>", "B", "A", "C", "last")
    assert corpus.tokens.tolist() == [3, 4, 3, 2, 2, 4, 5, 2, 6, 2]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_compressed_text_is_known_by_its_content(tmp_path: Path, pack) -> None:
    corpus = read_corpus([_write(tmp_path, pack(b"A B\n"), "text.any")])
    assert corpus.vocabulary[3:] == ("A", "B")


def test_several_files_make_one_corpus_and_progress_reaches_the_end(tmp_path: Path) -> None:
    first, second = _write(tmp_path, b"A\n", "1"), _write(tmp_path, b"B\n", "2")
    told: list[tuple[str, int, int]] = []
    corpus = read_corpus([first, second], on_progress=lambda *step: told.append(step))
    assert corpus.tokens.tolist() == [3, 2, 4, 2]
    assert told == [(f"reading {first}", 2, 2), (f"reading {second}", 2, 2)]


def test_words_are_not_cut_at_block_borders(tmp_path: Path) -> None:
    lines = [f"WORD{index} X" for index in range(200_000)]
    path = _write(tmp_path, "\n".join(lines).encode())
    blocks = [block for block, _ in read_blocks([path])]
    assert len(blocks) == 1
    assert blocks[0].decode() == "\n".join(lines) + "\n"
    path = _write(tmp_path, "\n".join(lines * 3).encode())
    places = [(len(block), place.first_line) for block, place in read_blocks([path])]
    assert len(places) > 1
    assert read_corpus([path]).tokens.size == 3 * 200_000 * 3


def test_characters_with_named_spaces() -> None:
    assert split_characters("  it's  so ") == ["i", "t", "'", "s", SPACE, "s", "o"]


def test_characters_of_a_file(tmp_path: Path) -> None:
    corpus = read_corpus([_write(tmp_path, "É A\n".encode())], split=split_characters)
    assert corpus.vocabulary[3:] == ("É", SPACE, "A")


def test_symbols_in_the_text_are_refused_with_their_line(tmp_path: Path) -> None:
    path = _write(tmp_path, b"A\nB<s>B is fine\nA <s> B\n")
    with pytest.raises(TextError, match=r"text\.txt, line 3: <s> is a symbol"):
        read_corpus([path])
    corpus = read_corpus([path], skip_symbols=True)
    assert corpus.vocabulary[3:] == ("A", "B<s>B", "is", "fine", "B")


@pytest.mark.parametrize("split", [None, split_characters])
def test_other_encodings_are_refused_with_their_line(tmp_path: Path, split) -> None:
    path = _write(tmp_path, b"A\n\nB\xe9 C\n")
    with pytest.raises(TextError, match=r"text\.txt, line 3: .*UTF-8"):
        read_corpus([path], split=split)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no text"),
        (gzip.compress(b"A B\n" * 1000, mtime=0)[:-9], "damaged compressed file"),
        (lzma.compress(b"A B\n" * 1000)[:-40], "damaged compressed file"),
        (b"\x1f\x8b\x08rubbish that is no gzip", "damaged compressed file"),
    ],
)
def test_unreadable_text(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(TextError, match=message):
        read_corpus([_write(tmp_path, content)])


def test_missing_text(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"nothing\.txt: cannot be read \(No such file"):
        read_corpus([tmp_path / "nothing.txt"])
    with pytest.raises(TextError, match="cannot be read"):
        read_corpus([tmp_path])


def test_most_frequent_and_limit() -> None:
    corpus = corpus_from_sentences([["C", "A", "B"], ["A", "B", "D"]])
    assert corpus.most_frequent(3) == ["A", "B", "C"]
    assert corpus.most_frequent(99) == ["A", "B", "C", "D"]
    limited = corpus.limit(["B", "A", "Z"])
    assert limited.vocabulary == ("<unk>", "<s>", "</s>", "A", "B")
    assert limited.tokens.tolist() == [0, 3, 4, 2, 3, 4, 0, 2]


def test_word_lists(tmp_path: Path) -> None:
    assert read_words(_write(tmp_path, "A É\nA\tB\n".encode())) == ["A", "É", "B"]
    with pytest.raises(TextError, match="no words"):
        read_words(_write(tmp_path, b" \n"))
    with pytest.raises(TextError, match="not UTF-8"):
        read_words(_write(tmp_path, b"A\n\xff\n"))


def test_reading_ends_where_it_is_enough(tmp_path: Path) -> None:
    (tmp_path / "first").write_text("A B\n" * 10)
    (tmp_path / "second").write_text("C\n")
    paths = [tmp_path / "first", tmp_path / "second"]
    for enough, n_tokens in ((0, 32), (1, 30), (20, 30), (21, 32)):
        assert len(read_corpus(paths, enough=enough).tokens) == n_tokens
