"""recipes/librispeech/cut.py: stretches that begin and end in mid-speech."""

from pathlib import Path

import pytest

from asr.manifest import Utterance, read_manifest, write_manifest
from tests.recipe_scripts import Script, script_runner

RECIPE = Path(__file__).parents[1] / "recipes" / "librispeech"

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    utterances = [
        Utterance(tmp_path / f"{n}.wav", 10.5, " ".join(WORDS), "speaker", offset=offset)
        for n, offset in enumerate((0.0, 2.0, 0.0, 0.0))
    ]
    short = Utterance(tmp_path / "short.wav", 4.0, "one two three four")
    write_manifest(tmp_path / "m.jsonl", [*utterances, short])
    return tmp_path / "m.jsonl"


def write_ctm(manifest: Path) -> Path:
    """Word n is said from n + 0.2 to n + 0.8 s."""
    lines = [
        f"{utterance.id} 1 {n + 0.2:.3f} 0.600 {word} 0.9\n"
        for utterance in read_manifest(manifest)
        for n, word in enumerate(utterance.text.split())
    ]
    path = manifest.with_suffix(".ctm")
    path.write_text("".join(lines))
    return path


def test_stretches_have_the_words_between_their_cuts(
    manifest: Path, tmp_path: Path, script: Script
) -> None:
    ends = set()
    for seed in range(20):
        out = tmp_path / "out.jsonl"
        done = script("cut.py", manifest, write_ctm(manifest), out, "--share", 1, "--seed", seed)
        assert done.returncode == 0, done.stderr
        wholes = read_manifest(manifest)
        stretches = read_manifest(out)
        assert len(stretches) == 4  # the fifth is too short
        for whole, stretch in zip(wholes, stretches, strict=False):
            start = stretch.offset - whole.offset
            end = start + stretch.duration
            # Cuts are half way between two words, at n; the end of the whole is at 10.5.
            first, last = round(start), round(min(end, 10.0))
            assert start == pytest.approx(first, abs=1e-3)
            assert 1 <= first <= 5
            assert stretch.text.split() == WORDS[first:last]
            assert last - first >= 4
            assert end == pytest.approx(10.5 if last == 10 else last, abs=1e-3)
            assert stretch.speaker == "speaker"
            ends.add(last)
    assert {8, 9, 10} <= ends


def test_the_same_seed_cuts_the_same_and_a_share_of_them(
    manifest: Path, tmp_path: Path, script: Script
) -> None:
    ctm = write_ctm(manifest)
    counts = set()
    for seed in range(8):
        paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
        done = [script("cut.py", manifest, ctm, p, "--share", 0.7, "--seed", seed) for p in paths]
        assert {d.returncode for d in done} == {0}
        assert paths[0].read_text() == paths[1].read_text()
        counts.add(len(read_manifest(paths[0])))
    assert len(counts) > 1


def test_what_cannot_be_cut_is_named(manifest: Path, tmp_path: Path, script: Script) -> None:
    out = tmp_path / "out.jsonl"
    ctm = write_ctm(manifest)
    lines = ctm.read_text().splitlines(keepends=True)
    ctm.write_text("".join(line for line in lines if not line.startswith("0 ")))
    done = script("cut.py", manifest, ctm, out, "--share", 1)
    assert done.returncode == 0
    assert "1 utterances are not in" in done.stderr
    assert len(read_manifest(out)) == 3
    ctm.write_text("".join(lines[1:]))
    done = script("cut.py", manifest, ctm, out, "--share", 1)
    assert done.returncode == 2
    assert "0: 10 words, and times of 9" in done.stderr
    ctm.write_text("no times\n")
    done = script("cut.py", manifest, ctm, out)
    assert done.returncode == 2
    assert "'no times' is no line of a CTM" in done.stderr
    assert script("cut.py", manifest, ctm, out, "--share", 1.5).returncode == 2
