"""asr.decode.best_path: the best path together with a label trigram, against every path."""

import itertools

import pytest
import torch
from torch import Tensor

from asr.decode import best_path as module
from asr.decode.best_path import best_path
from asr.decode.greedy import greedy
from asr.models.ctc_crf import LabelTrigram
from asr.text import CharTokenizer

SCALE, WORD_END = 0.5, -1.5


def collapse(path: tuple[int, ...]) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol]


def score(
    path: tuple[int, ...], log_probs: Tensor, trigram: Tensor, word_end: int | None = None
) -> float:
    padded = [0, 0, *collapse(path), 0]
    trigrams = zip(padded, padded[1:], padded[2:], strict=False)
    labels = sum(float(trigram[three]) for three in trigrams)
    words = sum(label == word_end for label in padded)
    frames = sum(float(log_probs[t, symbol]) for t, symbol in enumerate(path))
    return frames + SCALE * labels + WORD_END * words


def random_model(n_frames: int, n_symbols: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    log_probs = (3 * torch.randn(n_frames, n_symbols, generator=draw)).log_softmax(1)
    trigram = (2 * torch.randn((n_symbols,) * 3, generator=draw)).log_softmax(2)
    return log_probs, trigram


@pytest.mark.parametrize("seed", range(40))
def test_no_path_is_better(seed: int) -> None:
    n_symbols = 3 + seed % 2
    log_probs, trigram = random_model(1 + seed % 7, n_symbols, seed)
    word_end = n_symbols - 1 if seed % 4 > 1 else None
    found, found_score = best_path(log_probs, trigram, word_end=word_end)
    every = itertools.product(range(n_symbols), repeat=len(log_probs))
    best = max(score(path, log_probs, trigram, word_end) for path in every)
    assert found_score == pytest.approx(best, abs=1e-4)
    again = score(tuple(found.tolist()), log_probs, trigram, word_end)
    assert again == pytest.approx(best, abs=1e-4)


def test_a_trigram_that_says_nothing_leaves_the_likeliest_symbols() -> None:
    log_probs, _ = random_model(200, 9, 0)
    assert best_path(log_probs, torch.zeros(9, 9, 9))[0].tolist() == log_probs.argmax(1).tolist()


def test_blocks_find_what_one_search_does(monkeypatch: pytest.MonkeyPatch) -> None:
    log_probs, trigram = random_model(700, 6, 1)
    whole, _ = best_path(log_probs, trigram)
    assert whole.tolist() != log_probs.argmax(1).tolist()
    monkeypatch.setattr(module, "_BLOCK_FRAMES", 100)
    monkeypatch.setattr(module, "_LAG_FRAMES", 40)
    assert best_path(log_probs, trigram)[0].tolist() == whole.tolist()
    for n_frames in (0, 1, 99, 100, 101, 160, 161):
        part, _ = best_path(log_probs[:n_frames], trigram)
        assert len(part) == n_frames


def test_greedy_hears_what_the_trigram_expects() -> None:
    tokenizer = CharTokenizer()
    sentences = [tokenizer.encode(text) for text in ["THE CAT SAT", "THE HAT", "CHAT AT THE MAT"]]
    trigram = LabelTrigram.estimate(sentences * 9, tokenizer.n_tokens).probabilities.log()
    heard = tokenizer.encode("TGE CAT")
    log_probs = torch.full((2, 2 * len(heard), tokenizer.n_tokens), 0.001)
    for t, token in enumerate(heard):
        log_probs[0, 2 * t, token] = log_probs[0, 2 * t + 1, 0] = 0.9
    log_probs[0, 2, tokenizer.encode("H")[0]] = 0.7
    log_probs = log_probs.log()
    lengths = torch.tensor([len(log_probs[0]), 0])
    (plain, _) = greedy(log_probs, lengths, tokenizer, 0.04)
    (hypothesis, empty) = greedy(log_probs, lengths, tokenizer, 0.04, label_log_probs=trigram)
    assert (plain.text, hypothesis.text, empty.text) == ("TGE CAT", "THE CAT", "")
    assert [word.text for word in hypothesis.words] == ["THE", "CAT"]
    assert (hypothesis.words[1].start, hypothesis.words[1].end) == pytest.approx((0.32, 0.52))
    path = [symbol for token in tokenizer.encode("THE CAT") for symbol in (token, 0)]
    assert hypothesis.tokens == tuple(path[::2])
    assert hypothesis.score == pytest.approx(score(tuple(path), log_probs[0], trigram))
