"""Driving lmplz, where it is installed."""

import gzip
import shutil
from pathlib import Path

import pytest

from asr.errors import DependencyError, LanguageModelError, TextError
from lm.arpa import read_arpa
from lm.corpus import read_words, split_characters
from lm.kneser_ney import FALLBACK, Smoothing
from lm.lmplz import train_with_lmplz
from tests.lm_models import CASES, GOLDEN, assert_same_model, estimate_like

needs_lmplz = pytest.mark.skipif(shutil.which("lmplz") is None, reason="lmplz is not on PATH")


def test_without_lmplz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match=r"tools/build_lmplz\.sh"):
        train_with_lmplz([GOLDEN / "text.txt"], tmp_path / "model.arpa", 2, Smoothing())
    assert list(tmp_path.iterdir()) == []


@needs_lmplz
def test_equal_to_our_estimates(tmp_path: Path) -> None:
    text = tmp_path / "text.gz"
    text.write_bytes(gzip.compress((GOLDEN / "text.txt").read_bytes().rstrip(b"\n")))
    train_with_lmplz(
        [text],
        tmp_path / "model.arpa.xz",
        4,
        Smoothing((0, 0, 1)),
        vocabulary=read_words(GOLDEN / "vocabulary.txt"),
        memory="256M",
    )
    ours = estimate_like(CASES["vocabulary"], text, GOLDEN / "vocabulary.txt")
    assert_same_model(ours, read_arpa(tmp_path / "model.arpa.xz"), 1e-5)


@needs_lmplz
def test_characters(tmp_path: Path) -> None:
    smoothing = Smoothing(discount_fallback=FALLBACK)
    path = tmp_path / "model.arpa"
    train_with_lmplz(
        [GOLDEN / "text.txt"], path, 2, smoothing, split=split_characters, memory="256M"
    )
    assert {"<space>", "A", "B"} < set(read_arpa(path).vocabulary)


@needs_lmplz
def test_its_reasons_are_passed_on(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("A B\n")
    path = tmp_path / "model.arpa"
    with pytest.raises(LanguageModelError, match=r"lmplz failed .* discounts for 1-grams"):
        train_with_lmplz([text], path, 2, Smoothing(), memory="256M")
    with pytest.raises(TextError, match="nothing: cannot be read"):
        train_with_lmplz([tmp_path / "nothing"], path, 2, Smoothing(), memory="256M")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
