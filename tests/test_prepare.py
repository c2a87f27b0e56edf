"""Corpora in their own layouts become utterances; what is amiss is named."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.errors import AsrError, AudioError, ManifestError
from asr.manifest import Utterance
from asr.prepare import Options, from_folder, from_kaldi, from_librispeech, from_table
from asr.text import normalize

ALPHABET = set(" 'ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _audio(path: Path, seconds: float = 0.5, sample_rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * sample_rate), dtype=np.float32), sample_rate)
    return path


def _text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    chapter = tmp_path / "LibriSpeech" / "dev" / "84" / "121"
    _audio(chapter / "84-121-0000.flac", 0.5)
    _audio(chapter / "84-121-0001.flac", 0.25)
    _text(chapter / "84-121.trans.txt", "84-121-0000 GO DO YOU HEAR\n84-121-0001 BUT IN LESS\n")
    return tmp_path / "LibriSpeech"


@pytest.fixture
def kaldi(tmp_path: Path) -> Path:
    folder = tmp_path / "kaldi"
    _audio(folder / "a.wav", 2.0)
    _audio(folder / "b.wav", 1.0, 8_000)
    _text(folder / "wav.scp", f"a {folder / 'a.wav'}\nb\tb.wav\n")
    _text(folder / "text", "a HELLO  THERE\nb\n")
    _text(folder / "utt2spk", "a ann\nb bob\n")
    return folder


def test_librispeech(librispeech: Path) -> None:
    chapter = librispeech / "dev" / "84" / "121"
    expected = [
        Utterance(chapter / "84-121-0000.flac", 0.5, "GO DO YOU HEAR", "84"),
        Utterance(chapter / "84-121-0001.flac", 0.25, "BUT IN LESS", "84"),
    ]
    assert from_librispeech(librispeech) == expected
    assert from_librispeech(chapter) == expected


def test_librispeech_names_what_is_missing(
    librispeech: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chapter = librispeech / "dev" / "84" / "121"
    (chapter / "84-121-0001.flac").unlink()
    _audio(chapter / "84-121-0007.ogg")
    with pytest.raises(ManifestError) as caught:
        from_librispeech(librispeech)
    message = str(caught.value)
    assert "2 utterances cannot be used" in message
    assert f"{chapter / '84-121.trans.txt'}:2: no audio file 84-121-0001.*" in message
    assert f"{chapter / '84-121-0007.ogg'}: no transcript" in message
    with caplog.at_level(logging.WARNING):
        assert len(from_librispeech(librispeech, Options(skip_bad=True))) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_a_folder_with_side_cars(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _audio(tmp_path / "ann" / "one.wav")
    _text(tmp_path / "ann" / "one.txt", "Hello,\nworld: 5!\n")
    _audio(tmp_path / "bob" / "two.FLAC")
    _text(tmp_path / "bob" / "two.txt", "")
    _text(tmp_path / "README.txt", "about")
    found = from_folder(tmp_path, Options(transform=normalize), speaker_from_parent=True)
    assert [(u.text, u.speaker) for u in found] == [("HELLO WORLD FIVE", "ann"), ("", "bob")]
    assert "README.txt: no audio beside this text" in caplog.text
    assert {u.speaker for u in from_folder(tmp_path)} == {None}
    (tmp_path / "ann" / "one.txt").unlink()
    with pytest.raises(ManifestError, match=r"one\.wav: no transcript one\.txt beside it"):
        from_folder(tmp_path)


def test_common_voice(tmp_path: Path) -> None:
    _audio(tmp_path / "clips" / "common_voice_en_1.wav")
    _audio(tmp_path / "clips" / "common_voice_en_2.wav")
    table = _text(
        tmp_path / "validated.tsv",
        "client_id\tpath\tsentence_id\tsentence\tup_votes\n"
        'abc\tcommon_voice_en_1.mp3\t7\t"Hi", he said. ""\t2\n'
        "unknown\tcommon_voice_en_2.wav\t8\t\u201cNo.\u201d\t2\n",
    )
    found = from_table(table, Options(transform=normalize))
    assert [(u.audio_filepath.name, u.text, u.speaker) for u in found] == [
        ("common_voice_en_1.wav", "HI HE SAID", "abc"),
        ("common_voice_en_2.wav", "NO", None),
    ]


def test_ljspeech(tmp_path: Path) -> None:
    _audio(tmp_path / "wavs" / "LJ001-0001.wav", 0.75)
    table = _text(
        tmp_path / "metadata.csv", 'LJ001-0001|In 1455, "x"|In fourteen fifty-five, "x"\n'
    )
    expected = Utterance(
        tmp_path / "wavs" / "LJ001-0001.wav", 0.75, 'In fourteen fifty-five, "x"', None
    )
    assert from_table(table) == [expected]


def test_csv_with_quotes_and_own_columns(tmp_path: Path) -> None:
    _audio(tmp_path / "audio" / "sub" / "a.wav")
    table = _text(tmp_path / "t.csv", 'Clip,"Said",Who\nsub/a.wav,"Well, ""you"" know\nit",ann\n\n')
    with pytest.raises(ManifestError, match=r"t\.csv:1: no audio column among 'clip, said, who'"):
        from_table(table, audio_folder=tmp_path / "audio")
    (found,) = from_table(table, audio_folder=tmp_path / "audio", columns=("clip", "said", "WHO"))
    assert (found.text, found.speaker) == ('Well, "you" know\nit', "ann")
    with pytest.raises(ManifestError, match="no column 'voice' among"):
        from_table(table, columns=("clip", "said", "voice"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path\ttext\n", "no utterance can be used"),
        ("path\tclass\na.wav\tDog\n", "no text column"),
        ("path\ttext\na.wav\n", r"t\.tsv:2: 1 columns; 2 are needed"),
        ("path\ttext\na.wav\tA\tB\n", r"t\.tsv:2: 3 columns; 2 are needed"),
        ("path\ttext\na.wav\tA\nb.wav\tB\n", r"t\.tsv:3: no audio file b\.wav"),
        ("path\ttext\nbad.wav\tA\n", r"bad\.wav"),
        ('path,text\na.wav,"A\n' + 40_000 * "b.wav,B\n", r"t\.tsv:\d+: not a table .* quote"),
    ],
)
def test_bad_tables_are_refused(text: str, message: str, tmp_path: Path) -> None:
    _audio(tmp_path / "a.wav")
    _text(tmp_path / "bad.wav", "no audio at all")
    with pytest.raises(ManifestError, match=message):
        from_table(_text(tmp_path / "t.tsv", text))


def test_kaldi(kaldi: Path) -> None:
    assert from_kaldi(kaldi) == [
        Utterance(kaldi / "a.wav", 2.0, "HELLO  THERE", "ann"),
        Utterance(kaldi / "b.wav", 1.0, "", "bob"),
    ]


def test_kaldi_segments(kaldi: Path) -> None:
    _text(kaldi / "segments", "a1 a 0.0 0.75\na2 a 0.75 -1\nb1 b 0.5 1.05\n")
    _text(kaldi / "text", "a1 ONE\na2 TWO\nb1 THREE\n")
    (kaldi / "utt2spk").unlink()
    assert from_kaldi(kaldi) == [
        Utterance(kaldi / "a.wav", 0.75, "ONE"),
        Utterance(kaldi / "a.wav", 1.25, "TWO", offset=0.75),
        Utterance(kaldi / "b.wav", 0.5, "THREE", offset=0.5),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wav.scp", "a sph2pipe -f wav a.sph |\n", r"wav\.scp:1: a is a command \(sph2pipe"),
        ("wav.scp", "a\n", "a has no audio file"),
        ("wav.scp", "a none.wav\nb b.wav\n", r"none\.wav"),
        ("wav.scp", "b b.wav\nb b.wav\n", r"wav\.scp:2: b occurs twice"),
        ("wav.scp", "b b.wav\n", r"text:1: no audio for utterance a"),
        ("text", "b B\n", "text: no line for utterance a"),
        ("text", "", "is empty"),
        ("segments", "a c 0 1\n", r"segments:1: recording c is not in wav\.scp"),
        ("segments", "a a 0\n", "start and end in seconds are needed"),
        ("segments", "a a 1.5 1.5\nb b 0 1\n", r"segment 1\.5 to 1\.5 s does not lie within"),
        ("segments", "a a 0 1\nb b 0 1.5\n", r"segment 0 to 1\.5 s does not lie within its 1 s"),
    ],
)
def test_bad_kaldi_folders_are_refused(name: str, text: str, message: str, kaldi: Path) -> None:
    _text(kaldi / name, text)
    with pytest.raises(ManifestError, match=message):
        from_kaldi(kaldi)


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (from_librispeech, ManifestError),
        (from_folder, AudioError),
        (from_table, ManifestError),
        (from_kaldi, ManifestError),
    ],
)
def test_nothing_there_is_an_error(
    read: Callable[[Path], list[Utterance]], error: type[AsrError], tmp_path: Path
) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(error, match=str(path)):
            read(path)


def test_progress_ends_at_all_files(librispeech: Path) -> None:
    calls: list[tuple[int, int]] = []
    from_librispeech(librispeech, Options(progress=lambda *counts: calls.append(counts)))
    assert calls[-1] == (2, 2)


@pytest.mark.parametrize(
    ("subset", "n", "hours", "n_speakers", "n_words"),
    [
        ("train-clean-5", 1519, 5.31, 28, None),
        ("train-clean-100-part", 963, 3.19, 145, None),
        ("dev-100spk", 100, 0.35, 100, 3423),
        ("dev-clean-20spk", 400, 0.92, 20, 9086),
        ("test-clean-10spk", 675, 1.35, 10, 13296),
    ],
)
def test_real_librispeech(
    subset: str, n: int, hours: float, n_speakers: int, n_words: int | None, asr_data: Path
) -> None:
    found = from_librispeech(asr_data / "LibriSpeech" / subset)
    assert len(found) == n
    assert round(sum(u.duration for u in found) / 3600, 2) == hours
    assert len({u.speaker for u in found}) == n_speakers
    assert n_words in (None, sum(len(u.text.split()) for u in found))
    assert set("".join(u.text for u in found)) == ALPHABET


@pytest.mark.parametrize(
    ("table", "n", "hours"),
    [
        ("common_voice/manifest-train.tsv", 2122, 3.25),
        ("common_voice/manifest-dev.tsv", 81, 0.13),
        ("common_voice/manifest-test.tsv", 214, 0.34),
        ("cmu_arctic/manifest.tsv", 2264, 1.79),
        ("ljspeech_part/manifest.tsv", 602, 1.13),
        ("vctk_p239/manifest.tsv", 503, 0.43),
        ("fsdd/manifest.tsv", 3000, 0.36),
    ],
)
def test_real_tables(table: str, n: int, hours: float, asr_data: Path) -> None:
    found = from_table(asr_data / table, Options(transform=normalize))
    assert len(found) == n
    assert sum(u.duration for u in found) / 3600 == pytest.approx(hours, abs=0.0051)
    assert set("".join(u.text for u in found)) <= ALPHABET
    assert all(u.text for u in found)
