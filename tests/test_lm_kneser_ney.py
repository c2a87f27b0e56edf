"""Kneser-Ney estimates: equal to lmplz, summing to one, refusing what allows no estimate."""

import logging
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.errors import LanguageModelError
from lm.arpa import read_arpa
from lm.corpus import Corpus, corpus_from_sentences
from lm.counts import count_ngrams
from lm.kneser_ney import FALLBACK, Smoothing, estimate
from lm.table import NgramTable
from tests.lm_models import (
    CASES,
    GOLDEN,
    assert_same_model,
    estimate_like,
    small_model,
    sums_to_one,
    texts,
)

lmplz = pytest.mark.skipif(shutil.which("lmplz") is None, reason="lmplz is not on PATH")


@pytest.mark.parametrize("name", CASES)
def test_equal_to_what_lmplz_made(name: str) -> None:
    ours = estimate_like(CASES[name], GOLDEN / "text.txt", GOLDEN / "vocabulary.txt")
    assert_same_model(ours, read_arpa(GOLDEN / f"{name}.arpa.gz"), 1e-5)


def test_bigrams_by_hand() -> None:
    # Both orders fall back to the discounts 0.5, 1 and 1.5.
    model = small_model([["A", "B"], ["A"]], 2)
    # a(A) = 1 (after <s>), a(B) = 1 (after A), a(</s>) = 2 (after A and B); 4 in all, of which
    # 0.5 + 0.5 + 1 are left for the uniform distribution over A, B, </s> and <unk>.
    unigram_a = 0.5 / 4 + 2 / 4 / 4
    # a(<s> A) = 2, of which a discount of 1 is left for the unigrams.
    bigram = (2 - 1) / 2 + 1 / 2 * unigram_a
    table = NgramTable.from_model(model)
    log_prob, _ = table.step(table.start(), table.word_id("A"))
    assert np.exp(log_prob) == pytest.approx(bigram, rel=1e-6)
    assert np.exp(table.step(0, 0)[0]) == pytest.approx(2 / 4 / 4, rel=1e-6)


# Its 3-grams that occur three times are discounted by 0.
_NOTHING_LEFT = [list("AAAA"), list("AAAC"), list("AABA"), list("ABAACA")]


@settings(max_examples=25)
@given(texts, st.integers(1, 4), st.lists(st.integers(0, 2), max_size=3).map(sorted))
@example(_NOTHING_LEFT, 3, [])
def test_probabilities_sum_to_one(sentences: list[list[str]], order: int, prune: list[int]) -> None:
    sums_to_one(NgramTable.from_model(small_model(sentences, order, prune[:order])), 1e-5)


def test_limited_vocabulary_sums_to_one() -> None:
    counts = count_ngrams(corpus_from_sentences([list("ABCAB"), list("CABBA")]), 3)
    model = estimate(counts, Smoothing((0, 0, 1), FALLBACK), vocabulary=["A", "C", "Z"])
    assert model.vocabulary == ("<unk>", "<s>", "</s>", "A", "C")
    sums_to_one(NgramTable.from_model(model), 1e-5)


def test_words_that_do_not_occur_may_stay() -> None:
    whole = corpus_from_sentences([list("ABCAB"), list("DEDBA")])
    beginning = Corpus(whole.vocabulary, whole.tokens[:6])
    model = estimate(count_ngrams(beginning, 2), Smoothing(discount_fallback=FALLBACK))
    assert model.vocabulary == ("<unk>", "<s>", "</s>", "A", "B", "C")
    table = NgramTable.from_model(
        estimate(count_ngrams(beginning, 2), Smoothing(discount_fallback=FALLBACK), keep_words=True)
    )
    assert table.vocabulary == whole.vocabulary
    sums_to_one(table, 1e-5)
    assert table.score(["D"]) == pytest.approx(table.score(["<unk>"]), rel=1e-6)
    assert table.score(["D"]) < table.score(["C"])


def test_too_little_text_is_refused_or_falls_back(caplog: pytest.LogCaptureFixture) -> None:
    counts = count_ngrams(corpus_from_sentences([["A"]]), 2)
    with pytest.raises(LanguageModelError, match=r"1-grams: no Kneser-Ney discounts .*fallback"):
        estimate(counts)
    with caplog.at_level(logging.WARNING):
        estimate(counts, Smoothing(discount_fallback=FALLBACK))
    assert "1-grams: the counts allow no discounts" in caplog.text


@pytest.mark.parametrize("prune", [(1, 0), (-1,), (0, 0, 0)])
def test_impossible_thresholds_are_refused(prune: tuple[int, ...]) -> None:
    counts = count_ngrams(corpus_from_sentences([["A"]]), 2)
    with pytest.raises(LanguageModelError, match="at most 2 thresholds"):
        estimate(counts, Smoothing(prune, FALLBACK))


def test_progress_tells_the_orders() -> None:
    told: list[int] = []
    counts = count_ngrams(corpus_from_sentences([list("ABAB")]), 3)
    smoothing = Smoothing(discount_fallback=FALLBACK)
    estimate(counts, smoothing, on_progress=lambda _, done, total: told.append(total - done))
    assert told == [2, 1, 0]


@lmplz
@pytest.mark.parametrize(
    "options",
    [
        ["-o", "3"],
        ["-o", "5", "--prune", "0", "0", "1"],
        ["-o", "3", "--prune", "0", "1", "3", "--limit_vocab_file", "VOCABULARY"],
        ["-o", "2", "--interpolate_unigrams", "0"],
    ],
    ids=lambda options: " ".join(options),
)
def test_equal_to_lmplz_on_real_text(options: list[str], asr_data: Path, tmp_path: Path) -> None:
    text, vocabulary = tmp_path / "text", tmp_path / "vocabulary"
    content = (asr_data / "text" / "tinyshakespeare.txt").read_text()
    text.write_text(content)
    words = dict.fromkeys(content.split())
    vocabulary.write_text("\n".join(list(words)[:4000]))
    given = [str(vocabulary) if option == "VOCABULARY" else option for option in options]
    command = ["lmplz", "-S", "512M", "-T", f"{tmp_path}/", "--text", str(text), *given]
    subprocess.run(
        [*command, "--arpa", str(tmp_path / "theirs")], check=True, stderr=subprocess.DEVNULL
    )
    ours = estimate_like(options, text, vocabulary)
    assert_same_model(ours, read_arpa(tmp_path / "theirs"), 1e-5)
