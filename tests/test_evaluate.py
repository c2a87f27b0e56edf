import json
from pathlib import Path

import numpy as np
import pytest

from asr.audio import save_wav
from asr.config import parse_config
from asr.errors import AudioError, ConfigError, TextError
from asr.evaluate import evaluate, join, write_hypotheses
from asr.lexicon import Lexicon
from asr.manifest import Utterance
from asr.metrics import score
from asr.models.recognizer import Recognizer
from asr.text import CharTokenizer, PhoneTokenizer, writes_upper_case
from asr.transcribe import Transcriber, load
from asr.transcripts import match, read_transcripts

from .test_transcribe import make_sound


@pytest.fixture(scope="module")
def transcriber(tiny_model: Path) -> Transcriber:
    return load(tiny_model, "cpu")


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("audio")
    for number in range(5):
        save_wav(folder / f"{number}.wav", make_sound(2.0 + number, seed=number))
    return sorted(folder.iterdir())


def test_the_hypotheses_are_what_transcribing_gives_in_the_order_of_the_manifest(
    transcriber: Transcriber, audio: list[Path]
) -> None:
    texts = [transcript.text for transcript in transcriber.transcribe(audio, case="upper")]
    assert all(texts)
    utterances = [
        Utterance(path, 2.0 + number, f"{texts[number]} AND MORE", f"speaker{number % 2}")
        for number, path in enumerate(audio)
    ]
    evaluation = evaluate(transcriber, utterances)
    assert evaluation.hypotheses == tuple(texts)
    assert evaluation.utterances == tuple(utterances)
    assert evaluation.errors == ()
    assert evaluation.audio_seconds == pytest.approx(20.0)
    assert evaluation.rtf == evaluation.seconds / 20.0 > 0
    result = evaluation.score()
    assert (result.deletions, result.insertions, result.substitutions) == (10, 0, 0)
    assert result.sentence_error_rate == 1.0
    assert result.interval_over == "speakers"
    assert [each.id for each in result.utterances] == ["0", "1", "2", "3", "4"]


def test_parts_of_a_file_are_evaluated_apart(transcriber: Transcriber, audio: list[Path]) -> None:
    halves = [Utterance(audio[4], 3.0, "A"), Utterance(audio[4], 3.0, "B", offset=3.0)]
    evaluation = evaluate(transcriber, halves)
    waveform = make_sound(6.0, seed=4)
    expected = transcriber.transcribe([waveform[:48_000], waveform[48_000:]], case="upper")
    assert evaluation.hypotheses == tuple(transcript.text for transcript in expected)
    assert evaluation.audio_seconds == 6.0


def test_references_are_normalised_where_the_model_writes_upper_case(
    transcriber: Transcriber, audio: list[Path]
) -> None:
    utterances = [Utterance(audio[0], 2.0, "“It’s 3 o’clock,” she said.")]
    normalized = "IT'S THREE O'CLOCK SHE SAID"
    assert evaluate(transcriber, utterances).references == (normalized,)
    assert evaluate(transcriber, utterances, normalized=True).references == (normalized,)
    as_it_is = evaluate(transcriber, utterances, normalized=False)
    assert as_it_is.references == (utterances[0].text,)


def test_a_model_that_writes_both_cases_is_compared_as_it_writes(audio: list[Path]) -> None:
    tokenizer = CharTokenizer(" '.ABCabc")
    assert not writes_upper_case(tokenizer)
    assert writes_upper_case(CharTokenizer())
    assert not writes_upper_case(CharTokenizer(" 0123456789"))
    config = parse_config("[model]\nhidden_size = 8\ninput_size = 8\nn_layers = 1\n", source="test")
    recognizer = Recognizer(config, tokenizer).eval()
    recognizer.network.output.weight.data.mul_(50)
    utterances = [Utterance(audio[0], 2.0, "A cab. A Bac.")]
    assert evaluate(Transcriber(recognizer), utterances).references == ("A cab. A Bac.",)
    both = evaluate(Transcriber(recognizer), utterances, normalized=True)
    assert both.references == ("A CAB A BAC",)
    assert set("".join(both.hypotheses)) <= set(" 'ABC")


def test_a_model_of_phones_is_scored_in_phones(audio: list[Path]) -> None:
    lexicon = Lexicon({"HI": [("HH", "AY")], "YOU": [("Y", "UW")]})
    config = parse_config("[model]\nhidden_size = 8\ninput_size = 8\nn_layers = 1\n", source="test")
    transcriber = Transcriber(Recognizer(config, PhoneTokenizer(lexicon)).eval())
    evaluation = evaluate(transcriber, [Utterance(audio[0], 2.0, "hi you")])
    assert evaluation.references == ("HH AY Y UW",)
    assert set(" ".join(evaluation.hypotheses).split()) <= {"HH", "AY", "Y", "UW"}
    with pytest.raises(TextError, match="THERE"):
        evaluate(transcriber, [Utterance(audio[0], 2.0, "hi there")])


def test_what_cannot_be_read_is_left_out_and_named(
    transcriber: Transcriber, audio: list[Path], tmp_path: Path
) -> None:
    missing = tmp_path / "none.wav"
    utterances = [
        Utterance(missing, 2.0, "A"),
        Utterance(audio[0], 2.0, "B"),
        Utterance(audio[1], 2.0, "C", offset=100.0),
    ]
    evaluation = evaluate(transcriber, utterances)
    assert evaluation.utterances == (utterances[1],)
    assert evaluation.references == ("B",)
    assert [type(error) for error in evaluation.errors] == [AudioError, AudioError]
    assert str(missing) in str(evaluation.errors[0])
    assert "before offset 100.00 s" in str(evaluation.errors[1])
    nothing = evaluate(transcriber, utterances[:1])
    assert (nothing.audio_seconds, nothing.rtf) == (0.0, 0.0)
    with pytest.raises(TextError, match="nothing to score"):
        nothing.score()


def test_several_manifests_joined_are_one(transcriber: Transcriber, audio: list[Path]) -> None:
    utterances = [Utterance(path, 2.0, "A B", path.stem) for path in audio]
    parts = [evaluate(transcriber, utterances[:2]), evaluate(transcriber, utterances[2:])]
    joined, whole = join(parts), evaluate(transcriber, utterances)
    assert joined.hypotheses == whole.hypotheses
    assert joined.score() == whole.score()
    assert joined.seconds == parts[0].seconds + parts[1].seconds
    assert joined.audio_seconds == whole.audio_seconds


def test_the_written_hypotheses_give_the_same_score(
    transcriber: Transcriber, audio: list[Path], tmp_path: Path
) -> None:
    utterances = [Utterance(path, 2.0, "A b, c!", f"speaker{path.stem}") for path in audio]
    utterances.append(Utterance(audio[0], 1.0, "part", offset=0.5))
    evaluation = evaluate(transcriber, utterances)
    path = tmp_path / "hypotheses.jsonl"
    write_hypotheses(path, evaluation)
    files = [read_transcripts(path, is_reference=flag) for flag in (True, False)]
    references, hypotheses = match(files)
    again = score(
        [line.text for line in references],
        [line.text for line in hypotheses],
        speakers=[line.speaker for line in references],
    )
    assert again.wer == evaluation.score().wer
    assert again.interval == evaluation.score().interval
    first, *_, last = [json.loads(line) for line in path.read_text().splitlines()]
    assert first == {
        "audio_filepath": str(audio[0]),
        "duration": 2.0,
        "text": "A B C",
        "pred_text": evaluation.hypotheses[0],
        "speaker": "speaker0",
    }
    assert last["offset"] == 0.5
    with pytest.raises(ConfigError, match="cannot be written"):
        write_hypotheses(tmp_path / "none" / "a.jsonl", evaluation)


def test_progress_is_that_of_the_audio(transcriber: Transcriber, audio: list[Path]) -> None:
    done: list[float] = []
    evaluate(transcriber, [Utterance(audio[4], 6.0, "A")], on_progress=done.append)
    assert np.sum(done) == pytest.approx(6.0, abs=0.05)
