import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decode.hypothesis import Word
from asr.errors import ConfigError
from asr.formats import FORMATS, json_line, to_json, to_srt, to_tsv, to_txt, to_vtt, write_text
from asr.subtitles import make_cues
from asr.transcribe import Transcript
from asr.transcripts import read_transcripts


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    words, time = [], draw(st.sampled_from([0.0, 0.5, 3590.0, 35_999.0]))
    for _ in range(draw(st.integers(0, 40))):
        end = time + draw(st.floats(0.04, 1))
        text = draw(st.text("abc'<>&-", min_size=1, max_size=50))
        words.append(Word(text, time, end, draw(st.floats(0, 1))))
        time = end + draw(st.sampled_from([0.0, 0.2, 1.0]))
    return Transcript(" ".join(word.text for word in words), tuple(words), time + 0.01)


def milliseconds(clock: str, mark: str) -> int:
    hours, minutes, seconds, thousandths = re.fullmatch(
        rf"(\d\d+):([0-5]\d):([0-5]\d){re.escape(mark)}(\d\d\d)", clock
    ).groups()
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(thousandths)


def parse_times(line: str, mark: str) -> tuple[int, int]:
    start, end = line.split(" --> ")
    return milliseconds(start, mark), milliseconds(end, mark)


@settings(max_examples=60)
@given(transcripts())
def test_srt_read_back(transcript: Transcript) -> None:
    text = to_srt(transcript)
    assert text == "" or text.endswith("\n\n")
    blocks = [block.split("\n") for block in text.split("\n\n")[:-1]]
    assert [block[0] for block in blocks] == [str(n) for n in range(1, len(blocks) + 1)]
    read = [(*parse_times(block[1], ","), tuple(block[2:])) for block in blocks]
    cues = make_cues(transcript.words, transcript.duration)
    assert read == [(cue.start, cue.end, cue.lines) for cue in cues]


@settings(max_examples=60)
@given(transcripts())
def test_vtt_read_back(transcript: Transcript) -> None:
    header, *blocks = to_vtt(transcript).removesuffix("\n").split("\n\n")
    assert header == "WEBVTT"
    read = []
    for block in blocks:
        times, *lines = block.split("\n")
        assert not any("-->" in line or "<" in line for line in lines)
        assert all(re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt);)+", line) for line in lines)
        plain = [
            line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for line in lines
        ]
        read.append((*parse_times(times, "."), tuple(plain)))
    cues = make_cues(transcript.words, transcript.duration)
    assert read == [(cue.start, cue.end, cue.lines) for cue in cues]


@settings(max_examples=60)
@given(transcripts())
def test_tsv_read_back(transcript: Transcript) -> None:
    header, *rows = to_tsv(transcript).removesuffix("\n").split("\n")
    assert header == "start\tend\ttext"
    cues = make_cues(transcript.words, transcript.duration)
    read = [row.split("\t") for row in rows]
    assert read == [[str(cue.start), str(cue.end), cue.text] for cue in cues]


HELLO = Transcript(
    "hello you", (Word("hello", 0.5, 0.92, 0.98765), Word("you", 3661.25, 3661.5, 0.5)), 3662.0
)


def test_each_format_of_one_transcript() -> None:
    assert to_txt(HELLO) == "hello you\n"
    assert to_srt(HELLO) == (
        "1\n00:00:00,500 --> 00:00:01,500\nhello\n\n2\n01:01:01,250 --> 01:01:02,000\nyou\n\n"
    )
    assert to_vtt(HELLO) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nhello\n\n01:01:01.250 --> 01:01:02.000\nyou\n"
    )
    assert to_tsv(HELLO) == "start\tend\ttext\n500\t1500\thello\n3661250\t3662000\tyou\n"
    assert json.loads(to_json(HELLO)) == {
        "text": "hello you",
        "duration": 3662.0,
        "words": [
            {"text": "hello", "start": 0.5, "end": 0.92, "confidence": 0.9877},
            {"text": "you", "start": 3661.25, "end": 3661.5, "confidence": 0.5},
        ],
    }


def test_nothing_said() -> None:
    nothing = Transcript("", (), 2.0)
    assert {name: render(nothing) for name, render in FORMATS.items()} == {
        "txt": "\n",
        "json": '{\n "text": "",\n "duration": 2.0,\n "words": []\n}\n',
        "srt": "",
        "vtt": "WEBVTT\n",
        "tsv": "start\tend\ttext\n",
    }


def test_json_lines_can_be_scored(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(json_line(HELLO, "a/b/talk.wav") + json_line(HELLO, "a/c.wav"))
    first, second = read_transcripts(path, is_reference=False)
    assert (first.id, first.text) == ("a/b/talk", "hello you")
    assert second.id == "a/c"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"
    with pytest.raises(ConfigError, match=r"none/a\.txt: cannot be written"):
        write_text(tmp_path / "none" / "a.txt", "new")
