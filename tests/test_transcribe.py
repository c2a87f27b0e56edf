import io
import itertools
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from asr.audio import load as load_audio
from asr.audio import save_wav
from asr.config import parse_config
from asr.decode.greedy import greedy
from asr.decode.hypothesis import Word
from asr.errors import AsrError, AudioError, CheckpointError, ConfigError, TrainingError
from asr.manifest import Utterance
from asr.metrics import score
from asr.model_folders import find_model
from asr.models.recognizer import Recognizer
from asr.prepare import from_librispeech
from asr.text import CharTokenizer
from asr.transcribe import Transcriber, Transcript, load


def make_sound(seconds: float, seed: int = 0) -> np.ndarray:
    """Tones that glide and pause, with noise; whole 16-bit steps, as a WAV file keeps them."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16_000)) / 16_000
    phase = 2 * np.pi * (random.uniform(200, 500) * time + 200 * time * np.sin(time))
    waveform = 0.3 * np.sin(phase) * (np.sin((2 + random.random()) * time) > 0)
    waveform += random.normal(0, 0.01, len(time))
    return (np.round(waveform * 32768) / 32768).astype(np.float32)


@pytest.fixture(scope="module")
def transcriber(tiny_model: Path) -> Transcriber:
    return load(tiny_model, "cpu")


def with_chunks(transcriber: Transcriber, seconds: float, context: float) -> Transcriber:
    return Transcriber(
        transcriber.recognizer, chunk_seconds=seconds, context_seconds=context, batch_seconds=20
    )


def whole_log_probs(recognizer: Recognizer, waveform: np.ndarray) -> torch.Tensor:
    """What the model says of a recording in one piece, with nothing of the transcriber."""
    with torch.inference_mode():
        output = recognizer(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
    return output.log_probs[0]


# What fits into a chunk, and what does not.


@pytest.mark.parametrize("kind", ["none", "global", "utterance", "sliding"])
@pytest.mark.parametrize("features", ['kind = "logmel"', 'kind = "mfcc"\ndeltas = true'])
def test_a_recording_of_one_chunk_is_what_the_model_says_of_it(kind: str, features: str) -> None:
    torch.manual_seed(0)
    sizes = "hidden_size = 16\ninput_size = 16\nn_layers = 2\nsubsampling_channels = 4"
    config = parse_config(
        f'[features]\n{features}\nnormalization = "{kind}"\n[model]\n{sizes}', source="test"
    )
    recognizer = Recognizer(config, CharTokenizer()).eval()
    recognizer.normalizer.std.fill_(2.0)
    for seconds in (0.025, 0.5, 11.0, 38.0):
        waveform = make_sound(seconds)
        log_probs = Transcriber(recognizer).log_probs(waveform)
        expected = whole_log_probs(recognizer, waveform)
        torch.testing.assert_close(log_probs, expected, atol=1e-5, rtol=0)


def test_chunks_joined_are_the_whole_recording(transcriber: Transcriber) -> None:
    chunked = with_chunks(transcriber, 1.0, 2.0)
    for seconds in (5.0, 5.01, 6.0, 6.03, 17.77, 30.0):
        waveform = make_sound(seconds)
        expected = whole_log_probs(transcriber.recognizer, waveform)
        log_probs = chunked.log_probs(waveform)
        torch.testing.assert_close(log_probs, expected, atol=1e-4, rtol=0)


def test_without_context_the_length_is_still_right(transcriber: Transcriber) -> None:
    chunked = with_chunks(transcriber, 1.0, 0.0)
    for seconds in (0.9, 1.0, 1.01, 3.0, 9.99):
        waveform = make_sound(seconds)
        assert len(chunked.log_probs(waveform)) == len(
            whole_log_probs(transcriber.recognizer, waveform)
        )


def test_no_word_is_lost_or_doubled_at_a_seam(transcriber: Transcriber) -> None:
    waveform = make_sound(60.0)
    chunked = with_chunks(transcriber, 1.0, 2.0).transcribe(waveform)
    log_probs = whole_log_probs(transcriber.recognizer, waveform)
    (whole,) = greedy(
        log_probs[None], torch.tensor([len(log_probs)]), transcriber.recognizer.tokenizer, 0.04
    )
    assert len(whole.words) > 100
    assert chunked.text == whole.text.lower()
    assert [word.start for word in chunked.words] == [word.start for word in whole.words]


def test_greedy_text_obeys_the_label_trigram_of_the_model(
    transcriber: Transcriber, tiny_model: Path, tmp_path: Path
) -> None:
    recognizer = Recognizer.load(tiny_model)
    n = recognizer.tokenizer.n_tokens
    recognizer.label_log_probs = torch.full((n, n, n), -1e4)
    recognizer.label_log_probs[:, :, 0] = 0.0
    recognizer.save(tmp_path, {}, precision="int8")
    waveform = make_sound(10.0)
    assert transcriber.transcribe(waveform).text
    assert load(tmp_path, "cpu", decoding="greedy").transcribe(waveform).text == ""

    recognizer.label_log_probs = torch.zeros(3, 3, 3)
    recognizer.save(tmp_path, {})
    with pytest.raises(CheckpointError, match="label_log_probs"):
        load(tmp_path, "cpu")


def test_times_are_in_order_and_within_the_recording(transcriber: Transcriber) -> None:
    for seconds in (0.03, 0.5, 3.333, 50.001):
        transcript = with_chunks(transcriber, 2.0, 1.0).transcribe(make_sound(seconds))
        assert transcript.duration == pytest.approx(seconds, abs=1e-4)
        times = [time for word in transcript.words for time in (word.start, word.end)]
        assert all(0 <= time <= transcript.duration for time in times)
        assert all(a <= b for a, b in itertools.pairwise(times))
        assert all(word.start < word.end for word in transcript.words)
        assert all(0 <= word.confidence <= 1 for word in transcript.words)
        assert transcript.text == " ".join(word.text for word in transcript.words)


# Alone and together.


def test_a_recording_gets_the_same_transcript_alone_and_among_others(
    transcriber: Transcriber,
) -> None:
    lengths = np.random.default_rng(1).uniform(0.02, 9, 40)
    waveforms = [make_sound(length, seed) for seed, length in enumerate(lengths)]
    waveforms.insert(7, make_sound(100.0))
    together = transcriber.transcribe(waveforms)
    alone = [transcriber.transcribe(waveform) for waveform in waveforms]
    for left, right in zip(together, alone, strict=True):
        assert_same(left, right)
    assert sum(bool(transcript.text) for transcript in together) > 35


def assert_same(left: Transcript, right: Transcript) -> None:
    assert left.text == right.text
    assert left.duration == right.duration
    assert [(w.text, w.start, w.end) for w in left.words] == [
        (w.text, w.start, w.end) for w in right.words
    ]
    confidences = [word.confidence for word in right.words]
    assert [word.confidence for word in left.words] == pytest.approx(confidences, abs=1e-4)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("batch_seconds", [1.0, 30.0])
def test_threads_and_batch_size_change_nothing(
    transcriber: Transcriber, n_threads: int, batch_seconds: float
) -> None:
    waveforms = [make_sound(seconds) for seconds in (3.0, 0.4, 70.0, 5.0)]
    expected = transcriber.transcribe(waveforms)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        other = Transcriber(transcriber.recognizer, batch_seconds=batch_seconds)
        for left, right in zip(other.transcribe(waveforms), expected, strict=True):
            assert_same(left, right)
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_is_left_as_it_was(transcriber: Transcriber) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        transcriber.transcribe(make_sound(1.0))
        assert torch.get_num_threads() == 3
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [3]
    finally:
        torch.set_num_threads(before)


def test_sources_are_asked_for_as_they_are_needed(transcriber: Transcriber) -> None:
    n_asked = 0

    def sources():
        nonlocal n_asked
        for seed in range(400):
            n_asked += 1
            yield make_sound(2.0, seed)

    n_threads = torch.get_num_threads()
    results = Transcriber(transcriber.recognizer, batch_seconds=4).transcribe_each(sources())
    next(results)
    # Some to fill the batches in work, some read ahead.
    assert n_asked <= 20 * min(n_threads, 8)
    assert len({index for index, _ in results}) == 399
    assert n_asked == 400


# What can be given.


def test_all_kinds_of_sources(transcriber: Transcriber, tmp_path: Path) -> None:
    waveform = make_sound(4.0)
    path = tmp_path / "sound.wav"
    save_wav(path, waveform)
    expected = transcriber.transcribe(path)
    assert expected.text
    for source in (
        str(path),
        waveform,
        waveform.astype(np.float64),
        (waveform * 32768).astype(np.int16),
        ((waveform * 32768).astype(np.int32) << 16),
        torch.from_numpy(waveform),
        torch.from_numpy(waveform).double().requires_grad_(),
        io.BytesIO(path.read_bytes()),
        Utterance(path, 4.0, "SOMETHING ELSE"),
        Utterance(path, 3.98, "ROUNDED"),
    ):
        assert_same(transcriber.transcribe(source), expected)
    with path.open("rb") as file:
        assert_same(transcriber.transcribe(file), expected)


def test_an_utterance_is_a_stretch_of_its_file(transcriber: Transcriber, tmp_path: Path) -> None:
    waveform = make_sound(9.0)
    path = tmp_path / "sound.wav"
    save_wav(path, waveform)
    utterances = [Utterance(path, 3.0, ""), Utterance(path, 4.0, "", offset=3.0)]
    first, second = transcriber.transcribe(utterances)
    assert_same(first, transcriber.transcribe(waveform[:48_000]))
    assert_same(second, transcriber.transcribe(waveform[48_000 : 7 * 16_000]))


def test_another_sample_rate(transcriber: Transcriber, tmp_path: Path) -> None:
    waveform = make_sound(4.0)[::2]
    save_wav(tmp_path / "slow.wav", waveform, 8000)
    from_array = transcriber.transcribe(waveform, sample_rate=8000)
    assert from_array.duration == 4.0
    assert_same(from_array, transcriber.transcribe(tmp_path / "slow.wav"))


def test_case(transcriber: Transcriber) -> None:
    lower = transcriber.transcribe(make_sound(3.0))
    upper = transcriber.transcribe(make_sound(3.0), case="upper")
    assert lower.text != upper.text
    assert lower.text == upper.text.lower()
    assert [word.text for word in upper.words] == upper.text.split()
    assert upper == transcriber.transcribe(make_sound(3.0), case="model")
    with pytest.raises(ConfigError, match="case 'Lower'; take one of lower, upper, model"):
        transcriber.transcribe(make_sound(3.0), case="Lower")  # type: ignore[call-overload]


def test_too_short_for_a_frame(transcriber: Transcriber) -> None:
    assert transcriber.transcribe(np.zeros(399, np.float32)) == Transcript("", (), 399 / 16_000)
    assert transcriber.log_probs(np.zeros(1, np.float32)).shape == (0, 29)
    assert transcriber.transcribe([]) == []


def test_a_transcript_as_a_dictionary() -> None:
    transcript = Transcript("a", (Word("a", 0.0, 0.5, 0.25),), 1.0)
    assert transcript.to_dict() == {
        "text": "a",
        "words": ({"text": "a", "start": 0.0, "end": 0.5, "confidence": 0.25},),
        "duration": 1.0,
        "alternatives": (),
    }


# What cannot.


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (np.zeros((2, 16_000), np.float32), r"recording 1: samples of shape \(2, 16000\)"),
        (np.zeros(0, np.float32), r"samples of shape \(0,\)"),
        (torch.zeros(1, 16_000), r"one channel \(N,\) is needed"),
        (np.full(16_000, np.nan, np.float32), "NaN"),
        (np.full(16_000, np.inf), "infinity"),
        (np.zeros(16_000, np.uint8), "samples of type uint8"),
        (np.zeros(16_000, complex), "samples of type complex128"),
        (torch.zeros(16_000, dtype=torch.bool), "samples of type bool"),
        (3.0, "recording 1: a float is no recording"),
        (None, "a NoneType is no recording"),
        ("none.wav", "none.wav: no such file"),
        (io.BytesIO(b""), "empty file"),
    ],
)
def test_what_is_no_recording_is_refused(transcriber: Transcriber, source: Any, says: str) -> None:
    with pytest.raises(AudioError, match=says):
        transcriber.transcribe(source)
    with pytest.raises(AudioError, match=says):
        transcriber.log_probs(source)


def test_bad_recordings_do_not_stop_the_others(transcriber: Transcriber, tmp_path: Path) -> None:
    damaged = make_sound(200.0)
    damaged[-5] = np.nan  # shows only after much of it has been worked on
    bad = tmp_path / "damaged.wav"
    soundfile.write(bad, damaged, 16_000, subtype="FLOAT")
    sources = [make_sound(3.0), bad, make_sound(2.0), tmp_path / "none.wav", make_sound(1.0)]
    chunked = Transcriber(transcriber.recognizer, chunk_seconds=3.0, batch_seconds=10.0)
    numbers = []
    for index, result in chunked.transcribe_each(sources):
        numbers.append(index)
        if index in (1, 3):
            assert isinstance(result, AudioError)
            assert str(sources[index]) in str(result)
        else:
            assert_same(result, transcriber.transcribe(sources[index]))
    assert sorted(numbers) == [0, 1, 2, 3, 4]
    with pytest.raises(AudioError, match=r"damaged\.wav"):
        chunked.transcribe(sources)


def test_damaged_weights_give_an_error_instead_of_text(tiny_model: Path) -> None:
    transcriber = load(tiny_model, "cpu")
    with torch.no_grad():
        transcriber.recognizer.network.output.bias[3] = torch.nan
    with pytest.raises(AsrError, match="NaN"):
        transcriber.transcribe(make_sound(1.0))


def test_settings_out_of_range(tiny_model: Path) -> None:
    recognizer = Recognizer.load(tiny_model)
    for name, value in (
        ("batch_seconds", 0.0),
        ("batch_seconds", float("nan")),
        ("chunk_seconds", -1.0),
        ("context_seconds", float("inf")),
    ):
        with pytest.raises(ConfigError, match=f"{name} is {value:g}"):
            Transcriber(recognizer, **{name: value})


def test_loading_what_is_not_there(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(CheckpointError, match="no model folder"):
        load(tmp_path)
    with pytest.raises(TrainingError, match="device 'gpu' cannot be used"):
        load(tiny_model, "gpu")


# Progress and memory.


def test_progress_adds_up_to_the_audio(transcriber: Transcriber) -> None:
    done: list[float] = []
    waveforms = [make_sound(seconds) for seconds in (100.0, 3.0, 7.0)]
    list(transcriber.transcribe_each(waveforms, on_progress=done.append))
    assert sum(done) == pytest.approx(110.0, abs=0.2)


MEMORY = """
import resource, sys
import numpy as np, soundfile, torch
from asr.transcribe import load
torch.set_num_threads(2)
path, model, minutes = sys.argv[1:]
random = np.random.default_rng(0)
with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as file:
    for _ in range(int(minutes)):
        file.write(random.normal(0, 0.1, 960_000))
transcriber = load(model, "cpu")
transcript = transcriber.transcribe(path)
assert transcript.duration == 60 * int(minutes), transcript.duration
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux")
def test_memory_does_not_grow_with_the_recording(tiny_model: Path, tmp_path: Path) -> None:
    def peak(minutes: int) -> int:
        arguments = [str(tmp_path / "long.wav"), str(tiny_model), str(minutes)]
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, *arguments], capture_output=True, check=True, text=True
        )
        return int(done.stdout)

    # Half an hour is 115 MB of samples and 58 MB of features.
    assert peak(34) - peak(4) < 40


# Real speech.


def test_joined_real_speech_is_recognised_as_well_as_its_utterances(asr_data: Path) -> None:
    try:
        # Greedily: a language model does not see the same sentences in the joined file.
        transcriber = load(find_model("default"), "cpu", decoding="greedy")
    except CheckpointError:
        pytest.skip("the package holds no default model")
    folder = asr_data / "LibriSpeech" / "dev-clean-20spk"
    utterances = [u for u in from_librispeech(folder) if u.speaker == "1272"]
    assert len(utterances) == 20
    waveforms = [load_audio(utterance.audio_filepath) for utterance in utterances]
    references = [utterance.text for utterance in utterances]
    each = transcriber.transcribe(waveforms, case="upper")
    joined = transcriber.transcribe(np.concatenate(waveforms), case="upper")
    apart = score(references, [transcript.text for transcript in each]).wer
    together = score([" ".join(references)], [joined.text]).wer
    # One alignment over the join is free where the separate ones are bound to their utterance, so
    # with equal words it counts fewer errors, never more.
    assert together - apart <= 0.01
