"""Manifests: strict reading, atomic writing."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ManifestError
from asr.manifest import Utterance, read_lines, read_manifest, write_manifest

GOOD = '{"audio_filepath": "a.wav", "duration": 1.5, "text": "HI"}\n'

UTTERANCES = st.builds(
    Utterance,
    audio_filepath=st.sampled_from(["/data/x/a b.wav", "/other/ü.flac", "/c.opus"]).map(Path),
    duration=st.floats(0.001, 1e6),
    text=st.text(st.characters(exclude_categories=["Cs"])),
    speaker=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    offset=st.just(0.0) | st.floats(0.001, 1e6),
)


def _write(folder: Path, text: str) -> Path:
    path = folder / "m.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


@given(st.lists(UTTERANCES, min_size=1))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, utterances: list[Utterance]
) -> None:
    path = tmp_path_factory.mktemp("manifest") / "m.jsonl"
    write_manifest(path, utterances)
    assert read_manifest(path) == utterances


def test_audio_below_the_manifest_moves_with_it(tmp_path: Path) -> None:
    inside = tmp_path / "data" / "audio" / "a.wav"
    outside = tmp_path / "b.wav"
    folder = tmp_path / "data"
    write_manifest(folder / "m.jsonl", [Utterance(inside, 1, "A"), Utterance(outside, 1, "B")])
    names = [json.loads(line)["audio_filepath"] for line in read_lines(folder / "m.jsonl")]
    assert names == ["audio/a.wav", outside.as_posix()]
    folder.rename(tmp_path / "moved")
    first, _ = read_manifest(tmp_path / "moved" / "m.jsonl")
    assert first.audio_filepath == tmp_path / "moved" / "audio" / "a.wav"


def test_paths_are_absolute_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    _write(tmp_path / "sub", GOOD.replace("a.wav", "../a.wav"))
    monkeypatch.chdir(tmp_path)
    assert read_manifest("sub/m.jsonl")[0].audio_filepath == tmp_path / "a.wav"


def test_the_fields_manifests_of_others_carry(tmp_path: Path) -> None:
    line = (
        '\ufeff{"audio_filepath": "/a.wav", "duration": 2, "text": "ÉTÉ", "speaker": 17, '
        '"offset": null, "lang": "en", "pred_text": "X"}\r\n\n'
    )
    expected = Utterance(Path("/a.wav"), 2.0, "ÉTÉ", "17", 0.0)
    assert read_manifest(_write(tmp_path, line)) == [expected]


def test_ids() -> None:
    assert Utterance(Path("/x/84-121550-0022.opus"), 1, "").id == "84-121550-0022"
    assert Utterance(Path("/x/a.b.wav"), 1, "", offset=12.5).id == "a.b-12.500"


def test_line_feeds_alone_end_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("a\x0cb\u2028c\r\nd\n\n".encode())
    assert read_lines(path) == ["a\x0cb\u2028c", "d", ""]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("path\tduration\ttext", "not JSON .*asr prepare"),
        ('{"audio_filepath": "a.wav"', "not JSON"),
        ("[1, 2]", "not an object"),
        ('{"duration": 1, "text": ""}', "'audio_filepath' is missing"),
        ('{"audio_filepath": "a.wav", "text": ""}', "'duration' is missing"),
        ('{"audio_filepath": "a.wav", "duration": 1}', "'text' is missing"),
        ('{"audio_filepath": 5, "duration": 1, "text": ""}', "audio_filepath is 5"),
        ('{"audio_filepath": "", "duration": 1, "text": ""}', "not a path"),
        ('{"audio_filepath": "a\\u0000", "duration": 1, "text": ""}', "not a path"),
        ('{"audio_filepath": "a", "duration": "1", "text": ""}', 'duration is "1"'),
        ('{"audio_filepath": "a", "duration": true, "text": ""}', "duration is true"),
        ('{"audio_filepath": "a", "duration": NaN, "text": ""}', "duration is NaN"),
        ('{"audio_filepath": "a", "duration": Infinity, "text": ""}', "duration is Inf"),
        ('{"audio_filepath": "a", "duration": -1, "text": ""}', "duration is -1"),
        ('{"audio_filepath": "a", "duration": 0, "text": ""}', "duration is 0"),
        ('{"audio_filepath": "a", "duration": 1, "text": null}', "text is null"),
        ('{"audio_filepath": "a", "duration": 1, "text": "", "offset": -1}', "offset is -1"),
        ('{"audio_filepath": "a", "duration": 1, "text": "", "speaker": []}', r"speaker is \[\]"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_bad_lines_are_refused_by_number(line: str, message: str, tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD + "\n" + line + "\n")
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert "\n" not in str(caught.value)


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(ManifestError, match="cannot be read"):
            read_manifest(path)
    with pytest.raises(ManifestError, match="holds no utterances"):
        read_manifest(_write(tmp_path, "\n"))
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9t\xe9")
    with pytest.raises(ManifestError, match="not UTF-8"):
        read_manifest(tmp_path / "latin.jsonl")


def test_a_failed_write_leaves_the_old_manifest(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)

    def broken() -> Utterance:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_manifest(path, (broken() for _ in range(1)))
    (tmp_path / "folder").mkdir()
    with pytest.raises(ManifestError, match="folder: cannot be written"):
        write_manifest(tmp_path / "folder", [Utterance(Path("/a.wav"), 1, "A")])
    assert path.read_text() == GOOD
    assert sorted(os.listdir(tmp_path)) == ["folder", "m.jsonl"]
