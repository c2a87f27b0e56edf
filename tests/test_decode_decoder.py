"""Models from files, long recordings, rescoring."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from asr.config import DecodingConfig
from asr.decode.decoder import build_decoder, read_hotwords
from asr.errors import ConfigError, LanguageModelError
from asr.text import CharTokenizer
from lm.arpa import write_arpa
from lm.neural_config import parse_neural_config
from lm.neural_model import NeuralLanguageModel
from lm.table import NgramTable
from lm.units import TokenizerUnits
from tests.lm_models import small_model

LETTERS = CharTokenizer(" ABC")
SENTENCES = [["A", "BA"], ["AB", "A", "BA"], ["BB", "CAB"], ["A", "A", "AB"], ["CC", "A"], ["C"]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    model = small_model(SENTENCES, 3)
    write_arpa(model, folder / "words.arpa")
    NgramTable.from_model(model).save(folder / "words.ngram")
    return folder


def emissions(n_frames: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 2.5 * torch.randn(n_frames, LETTERS.n_tokens, generator=generator)
    return logits.log_softmax(dim=1)


def decoded(config: DecodingConfig, folder: Path, frames: list[Tensor], n_best: int = 1):
    decoder = build_decoder(config.at(folder), LETTERS, 0.04, n_best=n_best)
    return decoder.decode(frames, [0.04 * len(each) for each in frames])


def test_table_and_arpa_file_decode_the_same(models: Path) -> None:
    frames = [emissions(25, 0), emissions(40, 1)]
    table = decoded(DecodingConfig(lm="words.ngram"), models, frames, 4)
    arpa = decoded(DecodingConfig(lm="words.arpa"), models, frames, 4)
    for each, other in zip(table, arpa, strict=True):
        assert [y.text for y in each] == [y.text for y in other]
        assert [y.score for y in each] == pytest.approx([y.score for y in other], rel=1e-5)
    assert [len(each) for each in table] == [4, 4]
    vocabulary = {word for sentence in SENTENCES for word in sentence}
    assert {word for each in table for y in each for word in y.text.split()} <= vocabulary


def test_a_long_recording_has_times_in_order_and_within_it(models: Path) -> None:
    config = DecodingConfig(lm="words.ngram", beam=8)
    decoder = build_decoder(config.at(models), LETTERS, 0.04)
    short = build_decoder(config.at(models), LETTERS, 0.04)
    short._max_frames = 50
    frames = emissions(600, 2)
    ((whole,),) = decoder.decode([frames], [23.95])
    ((parted,),) = short.decode([frames], [23.95])
    assert len(parted.words) > 20
    for hypothesis in (whole, parted):
        edges = [edge for word in hypothesis.words for edge in (word.start, word.end)]
        assert edges == sorted(edges)
        assert edges[-1] <= 23.95
        assert hypothesis.text.split() == [word.text for word in hypothesis.words]


def test_an_empty_recording(models: Path) -> None:
    ((only,),) = decoded(DecodingConfig(lm="words.ngram"), models, [torch.zeros(0, 5)])
    assert (only.text, only.words) == ("", ())


def test_a_neural_model_of_other_units_reorders(models: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = parse_neural_config(
        "", source="test", overrides=[("model.embedding_size", 8), ("model.hidden_size", 16)]
    )
    units = TokenizerUnits(CharTokenizer("CBA "))
    model = NeuralLanguageModel(config, units).eval()
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(3)
    (tmp_path / "neural").mkdir()
    model.save(tmp_path / "neural", {})
    frames = [emissions(30, seed) for seed in range(4)]
    plain = decoded(DecodingConfig(lm=str(models / "words.ngram")), Path(), frames, 100)
    rescored = decoded(
        DecodingConfig(
            lm=str(models / "words.ngram"),
            neural=str(tmp_path / "neural"),
            rescore=True,
            gamma=0.8,
        ),
        Path(),
        frames,
        100,
    )
    for before, after in zip(plain, rescored, strict=True):
        scores = {y.text: y.score for y in before}
        assert set(scores) == {y.text for y in after}
        for y in after:
            (log_probs,) = model.log_probs([units.encode(y.text)])
            assert y.neural == pytest.approx(log_probs.sum(), rel=1e-4)
            assert y.score == pytest.approx(scores[y.text] + 0.8 * y.neural, rel=1e-4)
        assert [y.score for y in after] == sorted((y.score for y in after), reverse=True)


def test_units_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = small_model([["x", "y"], ["z"]], 2)
    NgramTable.from_model(model).save(tmp_path / "lower.ngram")
    with pytest.raises(LanguageModelError, match="do not fit the tokenizer"):
        build_decoder(DecodingConfig(lm="lower.ngram").at(tmp_path), LETTERS, 0.04)


def test_hotwords_are_read(tmp_path: Path) -> None:
    path = tmp_path / "hotwords.txt"
    path.write_text("# people\nJohn  Smith\n\nacme\t2.5\n", encoding="utf-8")
    assert read_hotwords(path, 4.0, upper=True) == {"JOHN SMITH": 4.0, "ACME": 2.5}


@pytest.mark.parametrize(
    ("text", "says"),
    [("a\tmany", "line 1: the bonus 'many'"), ("a\t-1", "'-1'"), ("\n#\n", "no hotword")],
)
def test_bad_hotwords_are_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "hotwords.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        read_hotwords(path, 4.0, upper=True)


def test_a_hotword_is_heard(models: Path, tmp_path: Path) -> None:
    (tmp_path / "hot.txt").write_text("CAB\t50\n", encoding="utf-8")
    frames = [emissions(30, 3)]
    plain = decoded(DecodingConfig(lm="words.ngram"), models, frames)
    hot = decoded(
        DecodingConfig(lm="words.ngram", hotwords=str(tmp_path / "hot.txt")), models, frames
    )
    assert hot[0][0].text.split().count("CAB") > plain[0][0].text.split().count("CAB")


def test_a_hotword_that_the_lexicon_lacks_is_heard(models: Path, tmp_path: Path) -> None:
    (tmp_path / "hot.txt").write_text("BACA\t50\n", encoding="utf-8")
    frames = [emissions(30, 3)]
    config = DecodingConfig(lm="words.ngram", hotwords=str(tmp_path / "hot.txt"))
    assert "BACA" in decoded(config, models, frames)[0][0].text.split()
    vocabulary = {word for sentence in SENTENCES for word in sentence} | {"BACA"}
    assert set(decoded(config, models, frames)[0][0].text.split()) <= vocabulary
