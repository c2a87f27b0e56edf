"""Forced alignment against all paths, torchaudio and real speech; its formats and its command."""

import itertools
import json
import math
import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.cli import main
from asr.decode.align import Alignment, align, best_alignments, restore_words
from asr.decode.alignment_formats import to_ctm, to_json, to_textgrid
from asr.decode.greedy import greedy
from asr.decode.hypothesis import Word
from asr.errors import AsrError, TextError
from asr.model_folders import DEFAULT_MODEL
from asr.text import CharTokenizer, frames_needed, normalize
from asr.torchaudio_safe import has_native_library, torchaudio

TOKENIZER = CharTokenizer(" ABC")
FRAME = 0.04


def random_log_probs(n_frames: int, n_tokens: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(1, n_frames, n_tokens, generator=generator)).log_softmax(-1)


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in groupby(path) if token)


def path_of(positions: np.ndarray, tokens: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(tokens[position] if position >= 0 else 0 for position in positions.tolist())


@pytest.mark.parametrize("n_frames", [1, 2, 5, 6])
def test_equal_to_the_best_of_all_paths(n_frames: int) -> None:
    log_probs = random_log_probs(n_frames, 3, seed=n_frames)
    rows = log_probs[0].double().numpy()
    best: dict[tuple[int, ...], tuple[float, tuple[int, ...]]] = {}
    for path in itertools.product(range(3), repeat=n_frames):
        score = sum(rows[frame, token] for frame, token in enumerate(path))
        tokens = collapse(path)
        best[tokens] = max(best.get(tokens, (-math.inf, ())), (score, path))
    texts = sorted(best)
    batch = log_probs.expand(len(texts), -1, -1)
    paths, scores = best_alignments(batch, torch.full((len(texts),), n_frames), texts)
    assert len(texts) > n_frames
    for tokens, positions, score in zip(texts, paths, scores, strict=True):
        assert score == pytest.approx(best[tokens][0], abs=1e-9)
        assert path_of(positions, tokens) == best[tokens][1]


def viterbi_with_all_moves(log_probs: np.ndarray, tokens: list[int]) -> float:
    """The best score by a plain trellis over all frames and states."""
    labels = [0]
    for token in tokens:
        labels += [token, 0]
    scores = np.full(len(labels), -np.inf)
    scores[0] = 0.0
    for frame in log_probs.astype(np.float64):
        before = scores.copy()
        for state in range(len(labels)):
            came = [before[state]]
            if state > 0:
                came.append(before[state - 1])
            if state > 1 and labels[state] not in (0, labels[state - 2]):
                came.append(before[state - 2])
            scores[state] = max(came) + frame[labels[state]]
    return float(max(scores[-2:]))


@pytest.mark.parametrize(("n_frames", "n_tokens"), [(90, 30), (61, 55), (40, 1), (37, 0)])
def test_longer_texts_over_several_blocks(n_frames: int, n_tokens: int) -> None:
    generator = np.random.default_rng(n_tokens)
    # One token in four follows itself.
    tokens = [1 + int(token) for token in generator.integers(4, size=n_tokens)]
    while frames_needed(tokens) > n_frames:
        tokens.pop()
    log_probs = random_log_probs(n_frames, 5, seed=n_frames)
    (positions,), (score,) = best_alignments(log_probs, torch.tensor([n_frames]), [tokens])
    rows = log_probs[0].numpy()
    assert score == pytest.approx(viterbi_with_all_moves(rows, tokens), abs=1e-6)
    path = path_of(positions, tuple(tokens))
    assert collapse(path) == tuple(tokens)
    assert [position for position, _ in groupby(positions[positions >= 0])] == [*range(len(tokens))]
    own = sum(float(rows[frame, token]) for frame, token in enumerate(path))
    assert score == pytest.approx(own, abs=1e-6)


@pytest.mark.skipif(not has_native_library(), reason="torchaudio's native library does not load")
def test_equal_to_torchaudio() -> None:
    tokens = [3, 3, 1, 2, 2, 4, 1]
    log_probs = random_log_probs(50, 5, seed=1)
    theirs, theirs_scores = torchaudio.functional.forced_align(log_probs, torch.tensor([tokens]))
    (positions,), (score,) = best_alignments(log_probs, torch.tensor([50]), [tokens])
    assert path_of(positions, tuple(tokens)) == tuple(theirs[0].tolist())
    assert score == pytest.approx(float(theirs_scores.sum()), abs=1e-4)


def test_batch_equals_single_and_padding_does_not_matter() -> None:
    log_probs = torch.cat([random_log_probs(30, 5, seed) for seed in range(4)])
    lengths = torch.tensor([30, 17, 9, 0])
    for row, length in enumerate(lengths.tolist()):
        log_probs[row, length:] = math.nan
    texts = ["AB CA", "A A", "CC", ""]
    together = align(log_probs, lengths, texts, TOKENIZER, FRAME)
    for row, text in enumerate(texts):
        part = log_probs[row, None, : int(lengths[row])]
        assert align(part, lengths[row, None], [text], TOKENIZER, FRAME) == [together[row]]
    assert together[3] == Alignment((), (), 0.0)


def test_agrees_with_greedy_decoding_on_the_text_that_it_finds() -> None:
    log_probs = random_log_probs(60, 5, seed=3)
    lengths = torch.tensor([60])
    (found,) = greedy(log_probs, lengths, TOKENIZER, FRAME, durations=[2.39])
    (alignment,) = align(
        log_probs, lengths, ["".join(TOKENIZER.symbols[t] for t in found.tokens)], TOKENIZER,
        FRAME, durations=[2.39],
    )  # fmt: skip
    assert alignment.score == pytest.approx(found.score, abs=1e-5)
    assert [word.text for word in alignment.words] == [word.text for word in found.words]
    for ours, theirs in zip(alignment.words, found.words, strict=True):
        assert (ours.start, ours.end) == (theirs.start, theirs.end)
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-6)
    assert alignment.tokens[-1].end <= 2.39


def test_text_that_does_not_fit_is_refused_by_name() -> None:
    log_probs = random_log_probs(8, 5, seed=0).expand(2, -1, -1)
    lengths = torch.tensor([8, 4])
    names = ["first", "84-121123-0001"]
    message = r"84-121123-0001: its text of 3 tokens needs at least 5 frames, .* has 4"
    with pytest.raises(TextError, match=message):
        align(log_probs, lengths, ["AAA", "AAA"], TOKENIZER, FRAME, names=names)
    with pytest.raises(TextError, match="84-121123-0001: character 'X'"):
        align(log_probs, lengths, ["A", "AX"], TOKENIZER, FRAME, names=names)
    assert len(align(log_probs, lengths, ["AAA", "AA"], TOKENIZER, FRAME)) == 2


def test_useless_output_is_refused_by_name() -> None:
    log_probs = random_log_probs(6, 5, seed=0)
    log_probs[0, 2, 3] = math.nan
    with pytest.raises(AsrError, match="utterance 0 of the batch: the model's output is NaN"):
        align(log_probs, torch.tensor([6]), ["AB"], TOKENIZER, FRAME)
    log_probs[..., 3] = -math.inf
    with pytest.raises(AsrError, match="u1: the model gives its text probability 0"):
        align(log_probs, torch.tensor([6]), ["AB"], TOKENIZER, FRAME, names=["u1"])
    assert align(log_probs, torch.tensor([6]), ["A"], TOKENIZER, FRAME)[0].words[0].text == "A"


def spoken(text: str) -> list[Word]:
    return [
        Word(w, n, n + 0.5, 0.25 + 0.5 * (n % 2)) for n, w in enumerate(normalize(text).split())
    ]


def test_words_are_written_as_they_stood_in_the_text() -> None:
    text = "— “Twenty” is not 25 – is it, Dr. Möller?"
    words = restore_words(spoken(text), text, normalize)
    assert [word.text for word in words] == text.replace("— ", "—").replace(" –", "–").split()
    number = next(word for word in words if word.text.startswith("25"))
    assert (number.start, number.end) == (3, 4.5)  # TWENTY FIVE
    assert number.confidence == pytest.approx(math.sqrt(0.25 * 0.75))
    # Parts that depend on one another stay as they were normalised.
    words = restore_words(spoken("Oh, $5 million!"), "Oh, $5 million!", normalize)
    assert [word.text for word in words] == ["Oh,", "FIVE", "MILLION", "DOLLARS"]
    assert restore_words([], "...", normalize) == ()


def example() -> Alignment:
    log_probs = random_log_probs(20, 5, seed=2)
    return align(log_probs, torch.tensor([20]), ["AB CA"], TOKENIZER, FRAME)[0]


def test_json_and_ctm() -> None:
    alignment = example()
    fields = json.loads(to_json(alignment, "a b.wav"))
    assert (fields["audio_filepath"], fields["text"]) == ("a b.wav", "AB CA")
    assert [token["text"] for token in fields["tokens"]] == list("AB CA")
    lines = [line.split() for line in to_ctm(alignment, "a b").splitlines()]
    assert [line[:2] + line[4:5] for line in lines] == [["a_b", "1", "AB"], ["a_b", "1", "CA"]]
    for line, word in zip(lines, alignment.words, strict=True):
        assert float(line[2]) == pytest.approx(word.start, abs=1e-3)
        assert float(line[2]) + float(line[3]) == pytest.approx(word.end, abs=2e-3)


def intervals(textgrid: str, tier: str) -> list[tuple[float, float, str]]:
    part = textgrid.split(f'name = "{tier}"')[1].split("item [")[0]
    found = re.findall(r'xmin = (\S+)\n\s+xmax = (\S+)\n\s+text = "(.*)"', part)
    assert f"intervals: size = {len(found)}\n" in part
    return [(float(low), float(high), text) for low, high, text in found]


def test_textgrid_covers_the_recording_without_gaps() -> None:
    alignment = example()
    textgrid = to_textgrid(alignment, 0.83)
    assert textgrid.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\n')
    for tier, parts in (("words", alignment.words), ("tokens", alignment.tokens)):
        found = intervals(textgrid, tier)
        assert (found[0][0], found[-1][1]) == (0, 0.83)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(found))
        assert all(low < high for low, high, _ in found)
        assert [text for _, _, text in found if text] == [part.text for part in parts]
    silence = to_textgrid(Alignment((), (), 0.0), 1.5)
    assert intervals(silence, "words") == [(0, 1.5, "")]


def test_textgrid_doubles_quotes() -> None:
    word = Word('"AB"', 0.0, 0.4, 1.0)
    assert 'text = """AB"""\n' in to_textgrid(Alignment((), (word,), 0.0), 1.0)


# Real speech


def needs_model() -> None:
    if not (DEFAULT_MODEL / "model.safetensors").exists():
        pytest.skip("the package holds no default model")


@pytest.fixture
def utterance(asr_data: Path) -> tuple[Path, str]:
    folder = asr_data / "LibriSpeech" / "dev-100spk"
    transcripts = sorted(folder.rglob("*.trans.txt"))[0]
    name, _, text = transcripts.read_text().splitlines()[0].partition(" ")
    return transcripts.with_name(f"{name}.opus"), text


def test_command_on_real_speech(
    utterance: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_model()
    audio, text = utterance
    (tmp_path / "text.txt").write_text(text.capitalize() + ".\n")
    assert main(["align", str(audio), str(tmp_path / "text.txt")]) == 0
    fields = json.loads(capsys.readouterr().out)
    words = fields["words"]
    assert " ".join(word["text"] for word in words) == text.capitalize() + "."
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    # What is recognised without help lies where it is aligned.
    assert main(["transcribe", str(audio), "--format", "json", "--case", "upper"]) == 0
    heard = json.loads(capsys.readouterr().out)
    assert times[-1] <= heard["duration"]
    starts = {word["text"]: word["start"] for word in heard["words"]}
    once = [w for w in text.split() if text.split().count(w) == 1 and w in starts]
    aligned = {word["text"].upper().rstrip("."): word["start"] for word in words}
    assert once
    assert np.median([abs(aligned[word] - starts[word]) for word in once]) < 0.1


def test_command_on_a_manifest_names_what_does_not_fit(
    utterance: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_model()
    audio, text = utterance
    entries = [
        {"audio_filepath": str(audio), "duration": 3.0, "offset": 0.5, "text": f"{text} " * 20},
        {"audio_filepath": str(audio), "duration": 3.0, "offset": 1.0, "text": "AND THE"},
    ]
    manifest = tmp_path / "two.jsonl"
    manifest.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    options = ["--format", "textgrid,srt,ctm", "--output-dir", str(tmp_path / "out")]
    assert main(["align", str(manifest), *options]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert f"{audio.stem}-0.500: its text" in errors
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{audio.stem}-1.000.{suffix}" for suffix in ("TextGrid", "ctm", "srt")]


def test_command_refuses_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("A")
    for arguments, message in [
        (["talk.mp3"], "needs the file with its text"),
        (["-", "-"], "cannot both come from standard input"),
        (["a.wav", str(tmp_path / "none.txt")], "the text cannot be read"),
        (["a.wav", str(tmp_path / "a.txt"), "--format", "doc"], "--format doc: choose from json"),
        (["a.wav", str(tmp_path / "a.txt"), "--format", "json,srt"], "need --output-dir"),
    ]:
        assert main(["align", *arguments]) == 2
        assert message in capsys.readouterr().err
