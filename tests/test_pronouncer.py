"""Words that a lexicon lacks: pronounced by a network, kept with the tokenizer and the model."""

from pathlib import Path

import pytest
import torch

from asr.checkpoint import read_tensors
from asr.cli import main
from asr.config import parse_config
from asr.decode.align import align
from asr.errors import CheckpointError, TextError
from asr.lexicon import Lexicon
from asr.models.recognizer import Recognizer
from asr.pronouncer import Pronouncer
from asr.text import PhoneTokenizer, load_tokenizer
from asr.translator import Translator
from tests.g2p_models import save_g2p_model

LEXICON = Lexicon({"BAA": [("B", "AH")], "KAB": [("K", "AH", "B")]})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_g2p_model(tmp_path_factory.mktemp("model"))


def test_words_of_its_letters_get_the_likeliest_phones(model: Path) -> None:
    pronouncer = Pronouncer(model, n_best=2)
    found = pronouncer.pronunciations(["CAB", "12", "", "A'B", "cab", "CAB", "CÄB"])
    assert list(found) == ["CAB", "A'B"]
    translator = Translator.load(model)
    for word, pronunciations in found.items():
        (translations,) = translator.translate([word])
        best = [one.symbols for one in translations if one.symbols]
        assert pronunciations == tuple(best[:2])
    again = pronouncer.pronunciations(["BABA", "A'B"])
    assert list(again) == ["BABA", "A'B"]
    assert again["A'B"] is found["A'B"]
    assert pronouncer.phones == ("AH", "B", "K")


def test_the_network_is_loaded_when_it_is_needed(tmp_path: Path) -> None:
    tokenizer = PhoneTokenizer(LEXICON, pronouncer=Pronouncer(tmp_path / "none"))
    assert tokenizer.decode(tokenizer.encode("BAA KAB")) == "B AH K AH B"
    with pytest.raises(CheckpointError, match="none: is no model folder of an encoder-decoder"):
        tokenizer.encode("CAB")
    words = save_g2p_model(tmp_path / "words", ["THE", "CAT"])
    with pytest.raises(CheckpointError, match="reads 'THE', not letters"):
        Pronouncer(words).pronunciations(["CAB"])


def test_it_is_saved_in_half_precision_with_the_tokenizer(model: Path, tmp_path: Path) -> None:
    pronouncer = Pronouncer(model)
    tokenizer = PhoneTokenizer(LEXICON, word_ends=True, pronouncer=pronouncer)
    tokenizer.save(tmp_path)
    tensors = read_tensors(tmp_path / "pronouncer" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, PhoneTokenizer)
    assert loaded.encode("A'B BAA CAB") == tokenizer.encode("A'B BAA CAB")
    loaded.save(tmp_path)  # over itself
    again = load_tokenizer(tmp_path)
    assert again.encode("BABA") == loaded.encode("BABA")
    # What no network can pronounce is named as before.
    assert again.unknown("CAB 12 BAA ΩB CAB") == ["12", "ΩB"]
    with pytest.raises(TextError, match="word '12' in 'CAB 12'"):
        again.encode("CAB 12")
    # A tokenizer without one leaves none behind.
    PhoneTokenizer(LEXICON, word_ends=True).save(tmp_path)
    assert load_tokenizer(tmp_path).unknown("CAB BAA") == ["CAB"]


def test_phones_that_the_tokenizer_lacks_are_named(tmp_path: Path) -> None:
    stressed = save_g2p_model(tmp_path, phones=("AH0",))
    tokenizer = PhoneTokenizer(LEXICON, pronouncer=Pronouncer(stressed))
    with pytest.raises(TextError, match="CAB is said with 'AH0', no phone of the tokenizer"):
        tokenizer.encode("BAA CAB")


def test_a_model_aligns_words_that_its_lexicon_lacks(model: Path, tmp_path: Path) -> None:
    config = parse_config(
        "[features]\nn_mels = 8\n[model]\nsubsampling_channels = 2\ninput_size = 4\n"
        "hidden_size = 4\nn_layers = 1\n",
        source="test",
    )
    tokenizer = PhoneTokenizer(LEXICON, word_ends=True, pronouncer=Pronouncer(model))
    Recognizer(config, tokenizer).save(tmp_path, {})
    loaded = Recognizer.load(tmp_path)
    log_probs = torch.randn(1, 80, loaded.tokenizer.n_tokens).log_softmax(2)
    (found,) = align(log_probs, torch.tensor([80]), ["CAB BAA A'B"], loaded.tokenizer, 0.04)
    assert [word.text for word in found.tokens if word.text == "|"] == ["|"] * 3
    assert len(found.words) == 3


def test_the_tokenizer_of_a_command_keeps_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lexicon.txt").write_text("BAA B AA1\nZOO Z UW1\n")
    Path("text.txt").write_text("BAA CAB\n12 ZOO\n")
    arguments = ["prepare", "--tokenizer", "phones", "text.txt", "--output", "t"]
    arguments += ["--lexicon", "lexicon.txt", "--word-ends", "--pronouncer"]
    assert main([*arguments, str(model)]) == 0
    assert "1 words of the texts cannot be encoded: 12" in capsys.readouterr().err
    tokenizer = load_tokenizer("t")
    assert isinstance(tokenizer, PhoneTokenizer)
    assert tokenizer.symbols[1:] == ("AA", "AH", "B", "K", "UW", "Z", "|")
    # Words of the texts are in the lexicon now, and are written; others can be read.
    assert tokenizer.lexicon.words == ("BAA", "ZOO", "CAB")
    assert tokenizer.decode(tokenizer.encode("ZOO CAB")) == "ZOO CAB"
    assert tokenizer.encode("A'B")
    stressed = save_g2p_model(tmp_path / "stressed", phones=("AH0", "B"))
    for options, message in (
        ([str(model), "--spell-unknown"], "--pronouncer and --spell-unknown"),
        ([str(model), "--stress"], "without stress; leave out --stress"),
        ([str(stressed)], "with stress; give --stress"),
        (["none"], "none: is no model folder"),
    ):
        assert main([*arguments, *options]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
