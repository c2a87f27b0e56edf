"""recipes/word2vec: gradients, sampling, going on, vectors, their tests; a tiny run."""

import json
import lzma
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from asr.errors import CheckpointError, ConfigError, TextError
from tests.recipe_scripts import Script, imported, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "word2vec"
MODULES = (
    "kernels",
    "word2vec_config",
    "encoded_text",
    "full_softmax",
    "held_out",
    "trainer",
    "word_vectors",
    "word_tests",
    "draw_map",
    "train",
    "score",
)


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, MODULES) as modules:
        yield modules


@pytest.fixture
def script(recipe: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


def random_weights(recipe: SimpleNamespace, n_words: int, size: int) -> Any:
    generator = np.random.default_rng(3)
    inputs, outputs = generator.normal(0, 0.7, (2, n_words, size)).astype(np.float32)
    return recipe.kernels.Weights(inputs, outputs)


def as_tensors(weights: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.from_numpy(part.copy()).requires_grad_() for part in weights)


@pytest.mark.parametrize("divide", [True, False])
@pytest.mark.parametrize("bag", [[2], [2, 4, 1]])
def test_a_step_follows_the_gradient(recipe: SimpleNamespace, bag: list[int], divide: bool) -> None:
    kernels = recipe.kernels
    weights = random_weights(recipe, 9, 6)
    inputs, outputs = as_tensors(weights)
    targets = [5, 0, 7, 8]
    scheme = kernels.Scheme(3, 3, True, divide)
    example = kernels.make_workspace(scheme, 6)
    example.bag[: len(bag)], example.targets[:] = bag, targets
    kernels.descend(weights, example, len(bag), 4, scheme, kernels.sigmoid_table(), 0.1)

    hidden = inputs[bag].mean(0)
    labels = torch.tensor([1.0, 0, 0, 0])
    logits = outputs[targets] @ hidden
    F.binary_cross_entropy_with_logits(logits, labels, reduction="sum").backward()
    assert inputs.grad is not None
    assert outputs.grad is not None
    factor = 1 if divide else len(bag)
    expected = [(inputs - 0.1 * factor * inputs.grad), (outputs - 0.1 * outputs.grad)]
    for found, tensor in zip(weights, expected, strict=True):
        np.testing.assert_allclose(found, tensor.detach(), atol=2e-6)


@pytest.mark.parametrize("bags", [True, False])
def test_a_softmax_step_follows_the_gradient(recipe: SimpleNamespace, bags: bool) -> None:
    weights = random_weights(recipe, 7, 4)
    inputs, outputs = as_tensors(weights)
    # A target twice, and a word that is in a bag twice.
    words, targets = ([[1, 1, 4], [6]], [[2], [3]]) if bags else ([[1], [6]], [[2, 5, 2], [0]])
    starts = [np.cumsum([0, *map(len, rows)]) for rows in (words, targets)]
    flat = [np.concatenate(rows).astype(np.int32) for rows in (words, targets)]
    examples = recipe.kernels.Examples(flat[0], starts[0], flat[1], starts[1])
    loss = recipe.full_softmax.descend_softmax(
        weights, *recipe.full_softmax.bag_matrices(examples, 0, 2, 7), 0.1
    )
    log_probs = torch.stack([(outputs @ inputs[bag].mean(0)).log_softmax(0) for bag in words])
    expected = -sum(log_probs[row][target].sum() for row, target in enumerate(targets))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for found, tensor in zip(weights, (inputs, outputs), strict=True):
        assert tensor.grad is not None
        np.testing.assert_allclose(found, (tensor - 0.1 * tensor.grad).detach(), atol=2e-6)
    assert recipe.held_out.perplexity(
        recipe.kernels.Weights(inputs.detach().numpy(), outputs.detach().numpy()), examples, None
    ) == pytest.approx(np.exp(expected.item() / len(flat[1])), rel=1e-5)


def test_words_are_drawn_as_often_as_they_should(recipe: SimpleNamespace) -> None:
    encoded = recipe.encoded_text
    counts = np.array([500, 120, 60, 8, 1])
    noise = encoded.noise_distribution(counts)
    np.testing.assert_allclose(noise, counts**0.75 / (counts**0.75).sum())
    accept, alias = encoded.alias_table(noise)
    drawn = accept / 5
    np.add.at(drawn, alias, (1 - accept) / 5)
    np.testing.assert_allclose(drawn, noise)
    keep = encoded.keep_probabilities(counts, 0.01)
    share = counts / counts.sum()
    np.testing.assert_allclose(keep, np.minimum(1, (np.sqrt(share / 0.01) + 1) * 0.01 / share))
    assert (encoded.keep_probabilities(counts, 0) == 1).all()


def test_examples_are_near_words_of_one_sentence(recipe: SimpleNamespace) -> None:
    kernels = recipe.kernels
    tokens = np.arange(40, dtype=np.int32)
    sentences = kernels.Sentences(tokens, np.array([0, 1, 20, 20, 40]))
    sampling = recipe.encoded_text.make_sampling(np.ones(40, np.int64), 0)
    block = kernels.Block(0, 4, 0.0, 0.0, np.uint64(5))
    examples = kernels.collect_examples(
        sampling, sentences, kernels.Scheme(3, 1, True, True), block
    )
    assert examples.targets.tolist() == list(range(1, 40))
    reaches = set()
    for target, start, end in zip(
        examples.targets, examples.bag_starts[:-1], examples.bag_starts[1:], strict=True
    ):
        bag = examples.bags[start:end]
        first, last = (1, 19) if target < 20 else (20, 39)
        reach = int(abs(bag - target).max())
        near = [w for w in range(target - reach, target + reach + 1) if first <= w <= last]
        assert bag.tolist() == [word for word in near if word != target]
        reaches.add(reach)
    assert reaches == {1, 2, 3}
    turned = kernels.collect_examples(sampling, sentences, kernels.Scheme(3, 1, False, True), block)
    assert turned.bags.tolist() == examples.targets.tolist()
    assert turned.targets.tolist() == examples.bags.tolist()


# Two circles of words, which never meet.
CIRCLES = (list("ABCDEFGH"), list("STUVWXYZ"))


def circle_lines(n: int) -> list[str]:
    generator = np.random.default_rng(0)
    return [" ".join(generator.choice(CIRCLES[number % 2], 9)) for number in range(n)]


@pytest.fixture(scope="module")
def text(recipe: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"{line} RARE{n}\n" for n, line in enumerate(circle_lines(1500))))
    config = recipe.word2vec_config.CorpusConfig(min_count=5, held_out=10)
    return recipe.encoded_text.encode(path, config)


def test_encoded_text(recipe: SimpleNamespace, text: Any, tmp_path: Path) -> None:
    assert set(text.words) == {*CIRCLES[0], *CIRCLES[1]}
    assert (len(text.training.tokens), len(text.held_out.tokens)) == (1350 * 9, 150 * 9)
    assert sorted(text.counts, reverse=True) == text.counts.tolist()
    counted = np.bincount(text.training.tokens)
    assert counted.tolist() == text.counts.tolist()
    first = [text.words[token] for token in text.training.tokens[:9]]
    assert " ".join(first) == circle_lines(1)[0]
    recipe.encoded_text.save_text(text, tmp_path / "text")
    loaded = recipe.encoded_text.load_text(tmp_path / "text")
    assert loaded.words == text.words
    np.testing.assert_array_equal(loaded.held_out.tokens, text.held_out.tokens)
    np.save(tmp_path / "text" / "training_tokens.npy", text.training.tokens[:-1])
    with pytest.raises(CheckpointError, match="do not fit together"):
        recipe.encoded_text.load_text(tmp_path / "text")

    small = text.limit(3, 300)
    assert set(small.training.tokens) == {0, 1, 2}
    assert 300 <= len(small.training.tokens) < 310
    assert small.training.starts[-1] == len(small.training.tokens)
    assert small.counts.sum() == len(small.training.tokens)
    # One sentence holds half the words; the others may be asked for all the same.
    assert text.limit(16, 1).counts.min() == 1


def config_of(recipe: SimpleNamespace, **training: object) -> Any:
    config = recipe.word2vec_config
    return config.Word2vecConfig(
        model=config.ModelConfig(size=10, window=2, sample=0.0),
        training=config.TrainingConfig(threads=1, **training),
        small=config.SmallConfig(epochs=8),
    )


@pytest.mark.parametrize(
    "name", ["skipgram", "cbow", "small-skipgram-softmax", "small-cbow-softmax"]
)
def test_neighbours_are_found(
    recipe: SimpleNamespace, text: Any, name: str, tmp_path: Path
) -> None:
    config = config_of(recipe, epochs=8, learning_rate=0.05)
    model = recipe.word2vec_config.MODELS[name]
    weights, progress = recipe.trainer.train(text, model, config, tmp_path)
    assert progress.n_done == 8 * 2
    vectors = recipe.word_vectors.WordVectors(text.words, *weights)
    for circle in CIRCLES:
        for word in circle:
            near = {found for found, _ in vectors.neighbours([word], n=7)}
            assert near <= set(circle)
    before = recipe.trainer.initial_weights(16, 10, 0)
    figures = [recipe.train.measure_held_out(name, w, text, config) for w in (before, weights)]
    for key in figures[0]:
        assert figures[1][key] < 0.8 * figures[0][key]
    if model.small:
        assert figures[0]["perplexity"] == pytest.approx(16, rel=0.01)
        assert figures[1]["perplexity"] < 8.5


def test_training_goes_on_where_it_was(
    recipe: SimpleNamespace, text: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = recipe.word2vec_config.MODELS["skipgram"]
    config = config_of(recipe, epochs=3, save_seconds=1e-9)
    monkeypatch.setattr(recipe.trainer, "_BLOCKS_PER_ROUND", 1)
    expected, _ = recipe.trainer.train(text, model, config, tmp_path / "whole")

    class StopError(Exception):
        pass

    def stop(progress: Any, n_blocks: int) -> None:
        if progress.n_done == 4:
            raise StopError

    with pytest.raises(StopError):
        recipe.trainer.train(text, model, config, tmp_path / "cut", stop)
    done = []
    found, progress = recipe.trainer.train(
        text, model, config, tmp_path / "cut", lambda p, n: done.append(p.n_done)
    )
    assert done[0] == 4
    assert progress.n_done == 6
    for ours, whole in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, whole)
    other = config_of(recipe, epochs=4)
    with pytest.raises(ConfigError, match="is of other settings"):
        recipe.trainer.train(text, model, other, tmp_path / "cut")


def test_learning_rates_fall_over_all_readings(recipe: SimpleNamespace, text: Any) -> None:
    found = recipe.trainer.blocks(text.training, 2, (0.1, 0.02), 0)
    assert [(block.first, block.last) for block in found[: len(found) // 2]] == [
        (block.first, block.last) for block in found[len(found) // 2 :]
    ]
    ends = [rate for block in found for rate in (block.first_rate, block.last_rate)]
    assert ends == sorted(ends, reverse=True)
    assert (ends[0], ends[-1]) == (pytest.approx(0.1), pytest.approx(0.02))
    assert len({int(block.seed) for block in found}) == len(found)


@pytest.fixture
def vectors(recipe: SimpleNamespace) -> Any:
    #         KING  QUEEN  MAN  WOMAN  FAR
    values = [[3, 1], [3, -1], [1, 1], [1, -1], [-4, 0]]
    words = ("KING", "QUEEN", "man", "WOMAN", "FAR")
    return recipe.word_vectors.WordVectors(words, np.array(values, np.float32))


def test_vectors_are_saved_and_asked(recipe: SimpleNamespace, vectors: Any, tmp_path: Path) -> None:
    assert [word for word, _ in vectors.neighbours(["king"])] == ["man", "QUEEN", "WOMAN", "FAR"]
    assert vectors.neighbours(["KING"], n=1)[0][1] == pytest.approx(4 / np.sqrt(20), rel=1e-6)
    assert vectors.neighbours(["KING", "WOMAN"], ["MAN"], n=1)[0][0] == "QUEEN"
    with pytest.raises(TextError, match="'PRINCE' is not among the 5 words"):
        vectors.neighbours(["PRINCE"])
    load = recipe.word_vectors.WordVectors.load
    vectors.save(tmp_path / "vectors")
    vectors.save_text(tmp_path / "vectors.txt")
    for name in ("vectors", "vectors.txt"):
        loaded = load(tmp_path / name)
        assert loaded.words == vectors.words
        np.testing.assert_array_equal(loaded.vectors, vectors.vectors)
    (tmp_path / "vectors" / "words.txt").write_text("ONE\n")
    with pytest.raises(CheckpointError, match="copy both anew"):
        load(tmp_path / "vectors")
    for content, part in (("KING 1 2\n", "first line"), ("2 2\nA 1 2\nB 1\n", "line 3")):
        (tmp_path / "vectors.txt").write_text(content)
        with pytest.raises(TextError, match=part):
            load(tmp_path / "vectors.txt")


def test_analogies_and_similarities(recipe: SimpleNamespace, vectors: Any, tmp_path: Path) -> None:
    tests = recipe.word_tests
    (tmp_path / "questions-words.txt").write_text(
        ": family\nman king woman queen\nman woman king queen\nman king woman far\n"
        ": gram1-none\nking kings queen queens\n"
    )
    (tmp_path / "EN-WS-353-ALL.txt").write_text("king man 9\nking queen 7\nking far 0\nking x 5\n")
    found = tests.judge_vectors(vectors, tmp_path, 5)
    assert found["analogies"]["family"] == {"right": 2, "covered": 3, "total": 3}
    assert found["analogies"]["gram1-none"] == {"right": 0, "covered": 0, "total": 1}
    assert found["analogies"]["all"] == {"right": 2, "covered": 3, "total": 4}
    assert found["similarity"]["WordSim-353"] == {"spearman": 1.0, "covered": 3, "total": 4}
    assert set(found["similarity"]) == {"WordSim-353"}
    # FAR is not among the candidates, so that its question is not asked.
    sections = tests.read_questions(tmp_path / "questions-words.txt")
    assert tests.answer_analogies(vectors, sections, n_candidates=4)["family"].covered == 2
    (tmp_path / "questions-words.txt").write_text(": family\nman king woman\n")
    with pytest.raises(TextError, match="line 2: 4 words"):
        tests.judge_vectors(vectors, tmp_path, 5)


def test_map_has_words_once(recipe: SimpleNamespace, vectors: Any) -> None:
    config = recipe.word2vec_config.MapConfig(words=("NONE", "KING", "WOMAN"), neighbours=1)
    places = recipe.draw_map.choose_words(vectors, config)
    groups = dict(zip(places.numbers.tolist(), places.groups.tolist(), strict=True))
    assert groups == {0: 1, 2: 1, 3: 2, 1: 2, 4: -1}
    with pytest.raises(TextError, match=r"set map\.words"):
        recipe.draw_map.choose_words(vectors, config.model_copy(update={"words": ("NONE",)}))
    line = np.outer(np.arange(5, dtype=np.float32), [3, 4, 0])
    found = recipe.draw_map.principal_components(line)
    np.testing.assert_allclose(np.abs(found[:, 0]), [10, 5, 0, 5, 10], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-4)


def test_words_command(vectors: Any, script: Script, tmp_path: Path) -> None:
    vectors.save(tmp_path / "v")
    done = script("words.py", "analogy", tmp_path / "v", "MAN", "king", "WOMAN", "-n", 1)
    assert (done.returncode, done.stdout.split()[1]) == (0, "QUEEN")
    done = script("words.py", "neighbours", tmp_path / "v", "MAN")
    assert done.stdout.split()[1] == "KING"
    assert script("words.py", "export", tmp_path / "v", tmp_path / "v.txt").returncode == 0
    assert (tmp_path / "v.txt").read_text().startswith("5 2\nKING 3 1\n")
    for arguments in (
        ["neighbours", tmp_path / "v", "PRINCE"],
        ["neighbours", tmp_path / "w", "A"],
    ):
        done = script("words.py", *arguments)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [(["--models", "glove"], "unknown model ['glove']"), (["--data", "none"], "none")],
)
def test_problems_take_one_line(tmp_path: Path, options: list[str], part: str) -> None:
    data = tmp_path / "text.txt"
    data.write_text("A B\n" * 99)
    command = ["bash", RECIPE / "run.sh", "--data", data, "--exp", tmp_path / "exp"]
    done = run(*command, "--conf", "tiny", *options)
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.count("\n") == 2  # and which stage it was


@pytest.mark.recipe
def test_tiny(asr_data: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    with lzma.open(asr_data / "text" / "lm" / "gutenberg-20m.txt.xz", "rt") as lines:
        text.write_text("".join(islice(lines, 4000)))
    command = ["bash", RECIPE / "run.sh", "--data", text, "--exp", tmp_path / "exp"]
    tests = ["--tests", asr_data / "text" / "word-vectors"]
    done = run(*command, "--conf", "tiny", *tests, timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "exp" / "score.json").read_text())
    for name in ("small-skipgram", "small-skipgram-softmax"):
        assert score["models"][name]["held_out"]["perplexity"] < 199
    assert score["models"]["skipgram"]["tests"]["analogies"]["all"]["covered"] > 50
    assert (tmp_path / "exp" / "map.png").stat().st_size > 5000
