"""Encoder-decoders over symbols: training, the model folder, translation, exact resume."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.checkpoint import read_tensors, write_json
from asr.errors import CheckpointError, ConfigError, TextError, TrainingError
from asr.fit import FitResult
from asr.search import Sampling
from asr.toml_config import parse_toml
from asr.training_log import Evaluation
from asr.translator import END_SYMBOL, NetworkConfig, Translator, TranslatorConfig
from asr.translator_train import (
    Pair,
    PairBatch,
    PairBatches,
    PairTraining,
    measure,
    symbols_of,
    train,
)


def config(*overrides: str) -> TranslatorConfig:
    text = """
[model]
embedding_size = 16
hidden_size = 24
dropout = 0.0
[training]
epochs = 4
batch_size = 32
learning_rate = 1e-2
warmup_steps = 10
device = "cpu"
"""
    return parse_toml(TranslatorConfig, text, source="test", overrides=overrides)


def spelled_backwards(n: int, seed: int) -> list[Pair]:
    """Letters to upper case in the other order; the one word for b is a pair of symbols."""
    random = np.random.default_rng(seed)
    words = ["".join(random.choice([*"abc"], random.integers(1, 4))) for _ in range(n)]
    names = {"a": ("A",), "b": ("B", "E"), "c": ("C",)}
    return [(w, tuple(s for letter in reversed(w) for s in names[letter])) for w in words]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FitResult]:
    folder = tmp_path_factory.mktemp("translator")
    pairs, dev = spelled_backwards(1600, 0), spelled_backwards(60, 1)
    return folder, train(config(), pairs, dev, folder)


def test_learns_and_loads(trained: tuple[Path, FitResult]) -> None:
    folder, result = trained
    assert result.best[0] < 0.1
    translator = Translator.load(folder)
    pairs = spelled_backwards(40, 2)
    for width in (1, 4):
        found = translator.translate([source for source, _ in pairs], width=width, batch_size=7)
        right = sum(f[0].symbols == t for f, (_, t) in zip(found, pairs, strict=True))
        assert right >= 38
        assert all(len(one) == 1 if width == 1 else 1 <= len(one) <= 4 for one in found)
    weights = translator.align("abc", ("C", "B", "E", "A"))
    assert weights.shape == (5, 3)
    assert translator.translate([]) == []


def test_a_source_is_translated_alone_as_among_others(trained: tuple[Path, FitResult]) -> None:
    translator = Translator.load(trained[0])
    sources = [source for source, _ in spelled_backwards(20, 3)]
    together = translator.translate(sources, width=3)
    for source, found in zip(sources, together, strict=True):
        (alone,) = translator.translate([source], width=3)
        assert [one.symbols for one in alone] == [one.symbols for one in found]
        assert [one.score for one in alone] == pytest.approx([one.score for one in found], abs=1e-4)


def test_unknown_and_empty_sources_are_refused(trained: tuple[Path, FitResult]) -> None:
    translator = Translator.load(trained[0])
    with pytest.raises(TextError, match=r"'abX'.*source symbol 'X'"):
        translator.translate(["abX"])
    with pytest.raises(TextError, match="empty source"):
        translator.translate(["a", ""])
    with pytest.raises(TextError, match="target symbol 'D'"):
        translator.align("a", ("D",))


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    class Interrupt:
        def progress(self, step: int, n_steps: int, values: object) -> None:
            if step == 13:
                raise KeyboardInterrupt

        def evaluation(self, evaluation: Evaluation) -> None:
            pass

    settings = config("training.epochs=2", "training.checkpoint_every=5", "model.dropout=0.2")
    pairs, dev = spelled_backwards(320, 0), spelled_backwards(20, 1)
    train(settings, pairs, dev, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(settings, pairs, dev, tmp_path / "parts", reporter=Interrupt())
    train(settings, pairs, dev, tmp_path / "parts")
    whole, parts = (
        read_tensors(tmp_path / name / "checkpoints/step-00000020/model.safetensors")
        for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with pytest.raises(ConfigError, match="another seed"):
        train(config("seed=1"), pairs, dev, tmp_path / "whole")


def test_every_epoch_has_every_pair_once_and_ranks_share_them() -> None:
    generator = np.random.default_rng(0)
    pairs = [([n], [1] * int(generator.integers(0, 9))) for n in range(730)]
    batches = PairBatches(pairs, batch_size=10)
    assert len(batches) == 73
    orders = []
    for epoch in (0, 1):
        seen = [batch.sources.flatten().tolist() for batch in batches.epoch(epoch, 0)]
        assert sorted(itertools.chain(*seen)) == list(range(730))
        orders.append(seen)
        rest = [batch.sources.flatten().tolist() for batch in batches.epoch(epoch, 70)]
        assert rest == seen[70:]
    assert orders[0] != orders[1]
    ranks = [PairBatches(pairs, batch_size=10, rank=rank, size=2) for rank in (0, 1)]
    halves = [[tuple(b.sources.flatten().tolist()) for b in one.epoch(0, 0)] for one in ranks]
    assert [len(half) for half in halves] == [36, 36]
    assert not set(halves[0]) & set(halves[1])
    assert int(batches.largest().target_lengths.min()) == 9
    with pytest.raises(TrainingError, match="0 pairs"):
        PairBatches([], batch_size=10)


def test_batches_have_sources_and_targets_of_similar_length() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.geometric(0.1, (2000, 2)).tolist()
    pairs = [([1] * n_source, [1] * n_target) for n_source, n_target in lengths]
    batches = list(PairBatches(pairs, batch_size=10).epoch(0, 0))
    n_symbols = sum(sum(pair) + 1 for pair in lengths)
    assert sum(batch.sources.numel() + batch.targets.numel() for batch in batches) < 1.3 * n_symbols


def test_batches_of_about_equal_token_counts() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.geometric(0.1, (5000, 2)).tolist()
    pairs = [([n] * n_source, [1] * n_target) for n, (n_source, n_target) in enumerate(lengths)]
    batches = PairBatches(pairs, batch_size=10, batch_tokens=500)
    epochs = [list(batches.epoch(epoch, 0)) for epoch in (0, 1)]
    for seen in epochs:
        assert len(seen) == len(batches)
        numbers = [int(source[0]) for batch in seen for source in batch.sources]
        assert sorted(numbers) == list(range(5000))
        longest = max(n_target for _, n_target in lengths) + 1
        assert all(500 - longest < batch.weight < 500 + 2 * longest for batch in seen)
        assert sum(batch.targets.numel() for batch in seen) < 1.2 * sum(b.weight for b in seen)
    (rest,) = batches.epoch(1, len(batches) - 1)
    assert rest.targets.equal(epochs[1][-1].targets)
    ranks = [PairBatches(pairs, batch_size=10, batch_tokens=500, rank=r, size=2) for r in (0, 1)]
    assert [len(list(one.epoch(0, 0))) for one in ranks] == [len(batches) // 2] * 2
    # A target longer than the budget is a batch or more of its own size; none is empty.
    long = PairBatches([([1], [1] * 40), *[([1], [1])] * 60], batch_size=10, batch_tokens=8)
    assert len([batch for batch in long.epoch(0, 0) if len(batch.sources)]) == len(long) == 3
    assert len(PairBatches(pairs[:3], batch_size=10, batch_tokens=10**6)) == 1


def test_padding_and_smoothing_of_the_loss() -> None:
    torch.manual_seed(0)
    network = Translator(
        TranslatorConfig(model=NetworkConfig(dropout=0.0)), "ab", [END_SYMBOL, "A", "B"]
    ).network
    pairs = [([0, 1, 1], [2, 2, 1]), ([1], []), ([0, 0], [1])]
    together = PairBatch.of(pairs, "all")
    assert together.weight == 7
    module = PairTraining(network)
    alone = sum(module(PairBatch.of([pair], "one")) for pair in pairs)
    torch.testing.assert_close(module(together), alone)
    smoothed = PairTraining(network, 0.3)
    log_probs = network(torch.tensor([[1]]), torch.tensor([1]), torch.tensor([[0]]))[0, 0]
    expected = -0.7 * log_probs[0] - 0.3 * log_probs.mean()
    torch.testing.assert_close(smoothed(PairBatch.of(pairs[1:2], "one")), expected)
    smoothed.eval()
    torch.testing.assert_close(smoothed(together), alone)


def test_measured_loss_is_that_of_dev(trained: tuple[Path, FitResult]) -> None:
    folder, result = trained
    dev = spelled_backwards(60, 1)
    loss, n_symbols = measure(Translator.load(folder), dev)
    assert n_symbols == sum(len(target) + 1 for _, target in dev)
    assert loss / n_symbols == pytest.approx(result.best[0], rel=1e-4)


def test_samples_are_likely_and_follow_the_seed(trained: tuple[Path, FitResult]) -> None:
    translator = Translator.load(trained[0])
    sources = ["abc", "ca", "b"]

    def draw(seed: int, sampling: Sampling, max_length: int = 12) -> list[tuple[str, ...]]:
        generator = torch.Generator().manual_seed(seed)
        found = translator.sample(
            sources, sampling=sampling, generator=generator, max_length=max_length
        )
        return [one.symbols for one in found]

    likeliest = [found[0].symbols for found in translator.translate(sources, width=1)]
    assert draw(0, Sampling(top_k=1)) == likeliest
    wild = Sampling(temperature=50.0)
    assert draw(1, wild) == draw(1, wild) != draw(2, wild)
    assert max(map(len, draw(1, wild, max_length=2))) == 2
    assert translator.translate(["abc"], width=1, max_length=2)[0][0].symbols == ("C", "B")


def test_damaged_folders_are_refused(trained: tuple[Path, FitResult], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model folder"):
        Translator.load(tmp_path)
    translator = Translator.load(trained[0])
    translator.save(tmp_path, {})
    symbols = {"source": "abcd", "target": translator.target_symbols}
    write_json(tmp_path / "symbols.json", symbols)
    with pytest.raises(CheckpointError, match="do not belong together"):
        Translator.load(tmp_path)
    write_json(tmp_path / "symbols.json", {"source": "abc", "target": ["A", "B", "C", "E", "F"]})
    with pytest.raises(CheckpointError, match=END_SYMBOL):
        Translator.load(tmp_path)
    write_json(tmp_path / "symbols.json", ["abc"])
    with pytest.raises(CheckpointError, match=r"symbols\.json: has no lists"):
        Translator.load(tmp_path)


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no pair for dev"):
        train(config(), spelled_backwards(3, 0), [], tmp_path)


def test_symbols_are_in_order() -> None:
    assert symbols_of(["cab", "abd"]) == ("a", "b", "c", "d")
