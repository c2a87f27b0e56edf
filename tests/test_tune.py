"""Tuning: on made-up emissions whose best weights are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.cli import main
from asr.config import DecodingConfig, load_decoding
from asr.decode.beam import BeamHypothesis
from asr.decode.confidence import LEAST_MASS
from asr.decode.decoder import build_decoder
from asr.decode.hypothesis import Word
from asr.decode.prior import token_prior
from asr.errors import ConfigError
from asr.manifest import Utterance, write_manifest
from asr.metrics import correct_words, normalized_cross_entropy
from asr.text import CharTokenizer
from asr.tune import PRIOR_SCALES, Emissions, Grid, calibrate, draw_surface, tune
from lm.table import NgramTable
from lm.units import TokenizerUnits
from tests.lm_models import small_model
from tests.neural_models import neural_model

from .test_transcribe import make_sound

LETTERS = CharTokenizer(" ABC")
SENTENCES = [["AB", "CA", "BB"], ["CA", "BB"], ["AB", "CA"], ["BB", "AB", "CA"]]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "words.ngram"
    # Words that are nearly as likely as those of the sentences, but never said.
    NgramTable.from_model(small_model([*SENTENCES * 5, ["AC"], ["CB"], ["BA"]], 3)).save(path)
    return path


def noisy_emissions(seed: int, n: int) -> Emissions:
    """Utterances of the sentences, a frame a letter, with much noise."""
    generator = np.random.default_rng(seed)
    frames, references = [], []
    for index in range(n):
        text = " ".join(SENTENCES[index % len(SENTENCES)])
        logits = generator.normal(0, 1.6, (2 * len(text), LETTERS.n_tokens))
        for position, letter in enumerate(text):
            logits[2 * position, LETTERS.encode(letter)[0]] += 3
            logits[2 * position + 1, 0] += 3
        frames.append(torch.tensor(logits, dtype=torch.float32).log_softmax(dim=1))
        references.append(text)
    durations = tuple(0.04 * len(each) for each in frames)
    return Emissions(tuple(frames), durations, tuple(references))


def test_a_language_model_that_helps_gets_weight(model_file: Path) -> None:
    decoder = build_decoder(
        DecodingConfig(lm=str(model_file), alpha=0.0, beta=0.0, beam=16), LETTERS, 0.04
    )
    emissions = noisy_emissions(0, 40)
    tuning = tune(decoder, emissions, Grid())
    unweighted = tuning.rounds[0][-1]
    assert tuning.options.alpha > 0
    assert tuning.wer < unweighted - 0.05
    # What is reported is what a search with these weights gives.
    found = decoder.with_options(tuning.options).decode(emissions.log_probs, emissions.durations)
    right = sum(
        each[0].text == text for each, text in zip(found, emissions.references, strict=True)
    )
    assert right >= len(found) * (1 - 3 * tuning.wer)
    chosen = next(each for each in tuning.widths if each[0] == tuning.options.width)
    assert chosen[1] == tuning.wer <= min(wer for _, wer, _ in tuning.widths) + 0.001
    assert tuning.surface.shape == (len(tuning.grid.alpha), len(tuning.grid.beta))


def test_two_models_are_tried_alone_and_together(model_file: Path, tmp_path: Path) -> None:
    # One that knows the sentences, and one with random weights.
    folder = tmp_path / "neural"
    folder.mkdir()
    neural_model(TokenizerUnits(LETTERS)).save(folder, {})
    config = DecodingConfig(lm=str(model_file), neural=str(folder), gamma=0.3, beam=8)
    decoder = build_decoder(config, LETTERS, 0.04)
    emissions = noisy_emissions(0, 20)
    grid = Grid(gamma=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5))
    tuning = tune(decoder, emissions, grid, n_rounds=2)
    starts = [(alpha, gamma) for alpha, _, gamma, _ in tuning.rounds[:3]]
    assert starts == [(0.8, 0.0), (0.5, 0.3), (0.0, 0.8)]
    assert tuning.options.alpha > tuning.options.gamma
    assert tuning.wer <= min(wer for *_, wer in tuning.rounds) + 0.001


def test_a_neural_model_alone_is_searched_with_once_a_round(tmp_path: Path) -> None:
    folder = tmp_path / "neural"
    folder.mkdir()
    neural_model(TokenizerUnits(LETTERS)).save(folder, {})
    decoder = build_decoder(DecodingConfig(neural=str(folder), beam=8), LETTERS, 0.04)
    grid = Grid(alpha=(0.5,), gamma=(0.0, 0.3, 0.6))
    tuning = tune(decoder, noisy_emissions(0, 5), grid, n_rounds=1)
    assert [(alpha, gamma) for alpha, _, gamma, _ in tuning.rounds] == [(0.5, 0.3)]
    assert tuning.surface.shape == (3, len(grid.beta))
    draw_surface(tuning, tmp_path / "tuning.png")
    assert (tmp_path / "tuning.png").stat().st_size > 1000


def test_calibrated_confidences_tell_more_and_do_so_of_other_utterances(model_file: Path) -> None:
    decoder = build_decoder(DecodingConfig(lm=str(model_file), beam=16), LETTERS, 0.04)
    found = calibrate(decoder, noisy_emissions(0, 60), decoder.search.options)
    assert found.after > found.before
    assert found.after > 0
    # On others, fitted nowhere: the uncalibrated and the calibrated ones.
    others = noisy_emissions(1, 60)
    values = []
    for options in (decoder.search.options, found.options):
        confidences: list[float] = []
        correct: list[bool] = []
        decoded = decoder.with_options(options).decode(others.log_probs, others.durations)
        for (first, *_), reference in zip(decoded, others.references, strict=True):
            confidences += [word.confidence for word in first.words]
            correct += correct_words(reference, first.text)
        values.append(normalized_cross_entropy(confidences, correct))
    assert values[1] > max(values[0], 0)


def test_what_all_emissions_share_is_taken_off(model_file: Path) -> None:
    """Of an acoustic model that hears A everywhere the prior scale is not 0, and it helps."""
    heard = noisy_emissions(0, 40)
    bias = torch.zeros(LETTERS.n_tokens)
    bias[LETTERS.encode("A")[0]] = 3.0
    biased = replace(heard, log_probs=tuple((x + bias).log_softmax(1) for x in heard.log_probs))
    decoder = build_decoder(DecodingConfig(lm=str(model_file), beam=16), LETTERS, 0.04)
    prior = token_prior(biased.log_probs)
    decoder = decoder.with_options(replace(decoder.search.options, prior=prior))
    said: list[str] = []
    plain = tune(decoder, biased, Grid())
    tuning = tune(decoder, biased, Grid(prior_scale=PRIOR_SCALES), on_progress=said.append)
    assert tuning.options.prior_scale > 0
    assert tuning.wer < plain.wer - 0.02
    tried = [line.split(":")[0] for line in said if line.startswith("prior scale")]
    assert tried == [f"prior scale {scale:g}" for scale in PRIOR_SCALES]


def test_without_words_there_is_nothing_to_tune(model_file: Path) -> None:
    decoder = build_decoder(DecodingConfig(lm=str(model_file)), LETTERS, 0.04)
    emissions = Emissions((torch.zeros(2, 5).log_softmax(1),), (0.08,), ("",))
    with pytest.raises(ConfigError, match="no word of reference"):
        tune(decoder, emissions, Grid())


def test_the_command_writes_what_transcribe_reads(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import shutil

    from asr.audio import save_wav
    from asr.transcribe import load

    model = shutil.copytree(tiny_model, tmp_path / "model")
    audio = tmp_path / "sound.wav"
    save_wav(audio, make_sound(3.0))
    text = load(model, "cpu").transcribe(audio, case="upper").text
    write_manifest(tmp_path / "dev.jsonl", [Utterance(audio, 3.0, text)])
    words = sorted(set(text.split()))
    table = tmp_path / "words.ngram"
    NgramTable.from_model(small_model([[word] for word in words], 2)).save(table)
    command = ["tune", str(tmp_path / "dev.jsonl"), "--model", str(model), "--lm", str(table)]
    options = ["--rounds", "1", "--prior-scale", "0.25", "--views", "2", "--beam", "24"]
    assert main([*command, "--copy", *options]) == 0
    output = capfd.readouterr().out
    assert [line.split()[1] for line in output.splitlines()[1:4]] == ["8:", "16:", "24:"]
    assert "beam   32" not in output
    saved = load_decoding(model / "decoding.toml")
    assert saved.prior_scale == 0.25
    assert saved.views == 2
    assert sum(saved.prior) == pytest.approx(1, abs=1e-3)
    assert output.startswith(f"{model / 'decoding.toml'}: alpha ")
    assert (model / "words.ngram").exists()
    assert (model / "tuning.png").stat().st_size > 1000
    (model / "decoding.toml").rename(model / "decoding-other.toml")
    assert load(model, "cpu").decoder is None
    assert load(model, "cpu", decoding="other").decoder is not None
    with pytest.raises(ConfigError, match=r"has no such decoding; .* or one of other"):
        load(model, "cpu", decoding="another")
    (model / "decoding-other.toml").rename(model / "decoding.toml")
    transcriber = load(model, "cpu", n_best=2)
    assert transcriber.decoder is not None
    transcript = transcriber.transcribe(audio, case="upper")
    assert set(transcript.text.split()) <= set(words)
    assert all(isinstance(word, Word) for word in transcript.words)
    assert main(["transcribe", "--model", str(model), str(audio), "--case", "upper"]) == 0
    assert capfd.readouterr().out.strip() == transcript.text
    greedy = ["transcribe", "--model", str(model), str(audio), "--greedy"]
    assert main([*greedy, "--views", "1"]) == 0
    assert capfd.readouterr().out.strip() == text.lower()
    # The views are the model's also where its language model is left out.
    assert main(greedy) == 0
    twice = load(model, "cpu", decoding="greedy", n_views=2).transcribe(audio)
    assert capfd.readouterr().out.strip() == twice.text != text.lower()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "name one with --lm"),
        (["--lm", "missing.ngram"], "missing.ngram: cannot be read"),
        (["--lm", "x", "--rounds", "0"], "--rounds 0"),
        (["--lm", "x", "--beam", "0"], "beam: input should be greater"),
        (["--lm", "x", "--greedy"], "--greedy takes no --lm"),
    ],
)
def test_bad_options_are_refused(
    tiny_model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    options: list[str],
    says: str,
) -> None:
    manifest = tmp_path / "dev.jsonl"
    write_manifest(manifest, [Utterance(tmp_path / "sound.wav", 1.0, "A")])
    assert main(["tune", str(manifest), "--model", str(tiny_model), *options]) == 2
    errors = capfd.readouterr().err
    assert says in errors
    assert errors.count("\n") == 1


def sure(n_best: list[BeamHypothesis]) -> list[float]:
    return [word.confidence for one in n_best for word in one.words]


def test_one_search_gives_the_confidences_of_every_scale(model_file: Path) -> None:
    decoder = build_decoder(DecodingConfig(lm=str(model_file), beam=16), LETTERS, 0.04, n_best=3)
    heard = noisy_emissions(2, 20)
    scales = [1.0, 0.1, 0.4]
    together = decoder.decode_scaled(heard.log_probs, heard.durations, scales)
    seen = set()
    for scale, found in zip(scales, together, strict=True):
        options = replace(decoder.search.options, posterior_scale=scale)
        alone = decoder.with_options(options).decode(heard.log_probs, heard.durations)
        for one, other in zip(found, alone, strict=True):
            assert [y.text for y in one] == [y.text for y in other]
            assert [y.score for y in one] == [y.score for y in other]
            # Alone, what is too unlikely to count is not asked for: at most the beam's 16.
            assert sure(one) == pytest.approx(sure(other), abs=16 * LEAST_MASS)
        seen.add(tuple(value for one in found for value in sure(one)))
    assert len(seen) == 3
