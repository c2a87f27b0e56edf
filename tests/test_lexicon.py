"""Pronouncing dictionaries."""

from pathlib import Path

import pytest

from asr.errors import TextError
from asr.lexicon import Lexicon, has_stress, read_lexicon, write_lexicon


def _write(folder: Path, text: str) -> Path:
    path = folder / "lexicon.txt"
    path.write_text(text)
    return path


def test_cmudict_lines(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        ";;; comment\n\nread R IY1 D\nread(2) R EH1 D\naalborg AO1 L B AO0 R G # place, danish\n"
        "READ  R EH2 D\n",
    )
    lexicon = read_lexicon(path)
    assert lexicon.words == ("READ", "AALBORG")
    assert lexicon.pronunciations("READ") == (("R", "IY", "D"), ("R", "EH", "D"))
    assert lexicon.pronounce("AALBORG") == ("AO", "L", "B", "AO", "R", "G")
    assert lexicon.pronounce("NONE") is None
    assert read_lexicon(path, stress=True).pronunciations("READ")[-1] == ("R", "EH2", "D")


@pytest.mark.parametrize(
    ("text", "message"),
    [("A AH\nB\n", r"lexicon.txt:2: 'B' has no phones"), ("\n;;; x\n", "holds no words")],
)
def test_bad_files_are_named(text: str, message: str, tmp_path: Path) -> None:
    lexicon = read_lexicon(_write(tmp_path, text))
    with pytest.raises(TextError, match=message):
        lexicon.pronounce("A")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"none\.dict: cannot be read"):
        read_lexicon(tmp_path / "none.dict")


def test_a_lexicon_is_written_as_it_is_read(tmp_path: Path) -> None:
    lexicon = Lexicon({"READ": [("R", "IY", "D"), ("R", "EH", "D")], "A": [("AH",)]})
    for name in ("words.dict", "words.gz"):
        write_lexicon(lexicon, tmp_path / name)
        again = read_lexicon(tmp_path / name)
        assert again.words == lexicon.words
        assert again.pronunciations("READ") == lexicon.pronunciations("READ")
        assert again.phones == ("AH", "D", "EH", "IY", "R")
        assert again.checksum != read_lexicon(tmp_path / name, stress=True).checksum
    assert lexicon.checksum != Lexicon({"A": [("AH",)]}).checksum


def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "words.gz").write_bytes(b"A AH")
    (tmp_path / "words.dict").write_bytes(b"\xff A")
    for name, message in (("words.gz", "damaged gzip"), ("words.dict", "not UTF-8 text")):
        lexicon = read_lexicon(tmp_path / name)
        with pytest.raises(TextError, match=f"{name}: {message}"):
            lexicon.pronounce("A")


@pytest.mark.parametrize("entries", [{}, {"A": []}, {"A": [()]}])
def test_empty_entries_are_refused(entries: dict[str, list[tuple[str, ...]]]) -> None:
    with pytest.raises(TextError):
        Lexicon(entries)


def test_cmudict(asr_data: Path) -> None:
    path = asr_data / "text" / "cmudict" / "cmudict.dict"
    phones = (path.parent / "cmudict.phones").read_text().split()[::2]
    lexicon = read_lexicon(path, spell_unknown=True)
    assert sorted(lexicon.phones) == sorted(phones)
    assert len(lexicon.words) > 120_000
    assert lexicon.pronounce("TOMATO") == ("T", "AH", "M", "EY", "T", "OW")
    assert len(lexicon.pronunciations("TOMATO")) == 2
    assert lexicon.pronounce("QXA") == ("K", "Y", "UW", "EH", "K", "S", "EY")


def test_stress_is_seen_in_any_phone() -> None:
    assert has_stress(["", "K", "AH0"])
    assert not has_stress(["", "K", "AH", "|"])


def test_a_copy_of_a_file_has_its_bytes(tmp_path: Path) -> None:
    """Compressing 120,000 words anew at each checkpoint took seconds."""
    path = _write(tmp_path, ";;; comment\nA AH0\n")
    copy = tmp_path / "copy.dict"
    write_lexicon(read_lexicon(path, stress=True), copy)
    assert copy.read_bytes() == path.read_bytes()
    write_lexicon(read_lexicon(path), copy)  # what was read says less than the file
    assert copy.read_text() == "A AH\n"
    write_lexicon(read_lexicon(path, stress=True), tmp_path / "copy.gz")
    assert read_lexicon(tmp_path / "copy.gz", stress=True).pronounce("A") == ("AH0",)
