"""Files to score: formats, ids and what does not fit."""

import json
from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.transcripts import TranscriptLine, match, read_transcripts


def _read(folder: Path, text: str, name: str = "x.txt") -> list[TranscriptLine]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_transcripts(path, is_reference=False)


def test_plain_lines_may_be_empty(tmp_path: Path) -> None:
    expected = [TranscriptLine("A B"), TranscriptLine(""), TranscriptLine("C (D) E")]
    assert _read(tmp_path, "A B\n\n C (D) E\n") == expected


def test_trn(tmp_path: Path) -> None:
    expected = [TranscriptLine("A (B) C", "x-1"), TranscriptLine("", "x-2")]
    assert _read(tmp_path, "A (B) C (x-1)\n(x-2)\n\n") == expected
    with pytest.raises(ManifestError, match=r"x\.trn:2: no \(id\)"):
        _read(tmp_path, "A (x-1)\nB\n", "x.trn")
    with pytest.raises(ManifestError, match="alternatives in braces"):
        _read(tmp_path, "A { B / C } (x-1)\n")


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        {"audio_filepath": "/d/a.wav", "text": "REF", "pred_text": "HYP", "speaker": 5},
        {"audio_filepath": "/d/a.wav", "offset": 1.5, "text": "REF", "hypothesis": "HYP 2"},
        {"id": 7, "text": "HYP 3", "speaker": "ann"},
    ]
    text = "\n".join(map(json.dumps, lines))
    assert _read(tmp_path, text) == [
        TranscriptLine("HYP", "/d/a", "5"),
        TranscriptLine("HYP 2", "/d/a-1.500"),
        TranscriptLine("HYP 3", "7", "ann"),
    ]
    references = read_transcripts(tmp_path / "x.txt", is_reference=True)
    assert [line.text for line in references] == ["REF", "REF", "HYP 3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no transcripts"),
        ("\n \n", "holds no transcripts"),
        ('{"text": "A"}\n{"text": \n', r"x\.txt:2: not JSON"),
        ('{"text": "A"}\n["text"]\n', r"x\.txt:2: not a JSON object"),
        ('{"text": "A"}\n{"txt": "A"}\n', r"x\.txt:2: no text; .* pred_text or hypothesis or text"),
        ('{"pred_text": null, "text": "A"}\n', r"x\.txt:1: no text"),
    ],
)
def test_bad_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=message):
        _read(tmp_path, text)


def _lines(*ids: str | None) -> list[TranscriptLine]:
    return [TranscriptLine(f"text of {name}", name) for name in ids]


def test_ids_decide_the_order() -> None:
    left, right = match([_lines("b", "a"), _lines("a", "b")])
    assert left == _lines("b", "a") == right


def test_ids_decide_only_where_all_have_them() -> None:
    assert match([_lines("b", "a"), _lines(None, None)])[1] == _lines(None, None)
    with pytest.raises(ManifestError, match="2 references but 1 hypotheses"):
        match([_lines("a", "b"), _lines(None)])


def test_paths_count_from_their_end_as_far_as_needed() -> None:
    left, right = match([_lines("/data/x/a", "/data/x/b"), _lines("b", "a")])
    assert [line.id for line in left] == ["a", "b"] == [line.id for line in right]
    left, right = match([_lines("/data/x/a", "/data/y/a"), _lines("y/a", "x/a")])
    assert [line.id for line in left] == ["x/a", "y/a"]
    assert [line.text for line in right] == ["text of x/a", "text of y/a"]


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (("a", "b", "c"), ("a",), "2 utterances without hypothesis: b, c"),
        (("a",), ("a", "b"), "1 utterances without reference: b"),
        (("a", "b"), ("a", "a"), "the hypotheses have utterance a twice"),
        (("x/a", "x/a"), ("x/a", "y/a"), "the references have utterance x/a twice"),
        (tuple("abcdefg"), ("a",), "6 utterances without hypothesis: b, c, d, e, f, ..."),
    ],
)
def test_ids_that_do_not_fit(left: tuple[str], right: tuple[str], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        match([_lines(*left), _lines(*right)])
    assert str(caught.value) == message


def test_a_second_system_must_have_all_ids_too() -> None:
    with pytest.raises(ManifestError, match="1 utterances without hypothesis: b"):
        match([_lines("a", "b"), _lines("a", "b"), _lines("a")])
