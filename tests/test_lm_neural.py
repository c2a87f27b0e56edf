"""Neural language models: one pass equals steps, probabilities sum to one, training is exact."""

import itertools
import json
import math
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.checkpoint import read_tensors
from asr.errors import CheckpointError, ConfigError, TextError, TrainingError
from asr.text import CharTokenizer
from asr.training_log import read_metrics
from lm.__main__ import main
from lm.neural import END, LstmLM, Nplm, OutputLayer, join_states, select_state
from lm.neural_config import NeuralConfig, dump_neural_config, parse_neural_config
from lm.neural_model import NeuralLanguageModel, sample_tokens, sentence_log_probs
from lm.neural_train import (
    TextBatches,
    TextTraining,
    read_sentences,
    start_from_model,
    train,
)
from lm.units import TokenizerUnits, WordUnits, load_units

V = 11
NETWORKS: dict[str, Callable[[], LstmLM | Nplm]] = {
    "tied": lambda: LstmLM(V, embedding_size=6, hidden_size=9),
    "tied, same size": lambda: LstmLM(V, embedding_size=8, hidden_size=8, n_layers=1),
    "own output": lambda: LstmLM(V, embedding_size=6, hidden_size=8, tied=False, layer_norm=True),
    "adaptive": lambda: LstmLM(V, embedding_size=6, hidden_size=9, cutoffs=[3, 7]),
    "adaptive, own output": lambda: LstmLM(V, embedding_size=6, tied=False, cutoffs=[1, 2, 10]),
    "gru": lambda: LstmLM(V, embedding_size=6, hidden_size=8, cell="gru", engine="reference"),
    "nplm": lambda: Nplm(V, order=4, embedding_size=5, hidden_size=8),
    "nplm, bigram": lambda: Nplm(V, order=2, embedding_size=5, hidden_size=8, direct=False),
    "nplm, tied": lambda: Nplm(V, order=4, embedding_size=5, hidden_size=8, tied=True),
    "nplm, adaptive": lambda: Nplm(V, order=3, embedding_size=8, hidden_size=8, cutoffs=[4]),
}


def network(kind: str) -> LstmLM | Nplm:
    torch.manual_seed(1)
    made = NETWORKS[kind]().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3)  # far from uniform
    return made


def random_tokens(*shape: int) -> Tensor:
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", NETWORKS)
@torch.no_grad()
def test_steps_equal_one_pass_and_probabilities_sum_to_one(kind: str) -> None:
    # In float32 the order of sums, and so the kernel of one CPU or another, would decide.
    model = network(kind).double()
    tokens, targets = random_tokens(3, 12), random_tokens(3, 12)
    hidden, after = model.hidden(tokens, model.start(3))
    whole = model.output(hidden)
    torch.testing.assert_close(whole.logsumexp(-1), torch.zeros(3, 12), atol=1e-5, rtol=0)
    assert whole.std() > 0.2
    picked = whole.gather(-1, targets[..., None])[..., 0]
    torch.testing.assert_close(model.output.target_log_probs(hidden, targets), picked)
    state = model.start(3)
    for position in range(12):
        log_probs, state = model.step(state, tokens[:, position])
        torch.testing.assert_close(log_probs, whole[:, position], atol=1e-5, rtol=1e-5)
    for part, other in zip(state, after, strict=True):
        torch.testing.assert_close(part, other, atol=1e-12, rtol=1e-12)
    # In two halves, too.
    first, state = model.hidden(tokens[:, :5], model.start(3))
    second, _ = model.hidden(tokens[:, 5:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), hidden, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", ["tied", "gru", "nplm"])
@torch.no_grad()
def test_states_of_a_beam_are_picked_and_joined(kind: str) -> None:
    model = network(kind)
    _, state = model.hidden(random_tokens(3, 6), model.start(3))
    rows = torch.tensor([2, 0, 2, 1])
    tokens = torch.tensor([1, 2, 1, 4])
    picked, _ = model.step(select_state(state, rows), tokens)
    for row in range(4):
        alone, _ = model.step(select_state(state, rows[row, None]), tokens[row, None])
        torch.testing.assert_close(picked[row], alone[0])
    halves = [select_state(state, rows[:1]), select_state(state, rows[1:])]
    joined, _ = model.step(join_states(halves), tokens)
    assert torch.equal(joined, picked)


@pytest.mark.parametrize("kind", ["tied", "adaptive", "nplm"])
@torch.no_grad()
def test_all_sentences_together_have_probability_one(kind: str) -> None:
    """Those of up to 2 tokens, and the beginnings of 3 tokens of all others."""
    model = network(kind)
    tokens = range(1, V)
    short = [s for n in range(3) for s in itertools.product(tokens, repeat=n)]
    longer = [*itertools.product(tokens, repeat=3)]
    whole = sum(math.exp(part.sum(dtype=float)) for part in sentence_log_probs(model, short))
    begun = sum(math.exp(part[:3].sum(dtype=float)) for part in sentence_log_probs(model, longer))
    assert whole + begun == pytest.approx(1, abs=1e-5)
    assert 0.01 < whole < 0.99


@pytest.mark.parametrize("kind", ["tied", "adaptive", "nplm"])
@torch.no_grad()
def test_a_batch_of_sentences_equals_each_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm.neural_model._BATCH_TOKENS", 20)
    model = network(kind)
    sentences = [random_tokens(n).clamp(min=1).tolist() for n in (3, 0, 9, 1, 30, 9, 4)]
    together = sentence_log_probs(model, sentences)
    for sentence, log_probs in zip(sentences, together, strict=True):
        state, expected, before = model.start(1), [], END
        for token in [*sentence, END]:
            scores, state = model.step(state, torch.tensor([before]))
            expected.append(float(scores[0, token]))
            before = token
        np.testing.assert_allclose(log_probs, expected, atol=1e-5)
    assert sentence_log_probs(model, []) == []


@torch.no_grad()
def test_nplm_is_the_equation_of_the_paper() -> None:
    model = network("nplm")
    assert isinstance(model, Nplm)
    x = torch.cat([model.embedding.weight[token] for token in (END, END, 7)])
    a = torch.tanh(model.layer.weight @ x + model.layer.bias)
    linear = model.output.linear
    assert isinstance(linear, torch.nn.Linear)
    W, U = linear.weight.split([15, 8], dim=1)
    expected = (linear.bias + W @ x + U @ a).log_softmax(-1)
    # The context ends where the sentence begins, whatever stood before.
    for before in ([], [3], [3, 4, 5]):
        tokens = torch.tensor([[*before, END, 7]])
        hidden, _ = model.hidden(tokens, model.start(1))
        torch.testing.assert_close(model.output(hidden)[0, -1], expected)


def test_tied_output_is_one_parameter_and_survives_copies() -> None:
    model = LstmLM(V, embedding_size=6, hidden_size=9)
    names = {name for name in model.state_dict() if name.startswith(("embedding", "output"))}
    assert names == {"embedding.weight", "output.linear.weight", "output.bias"}
    other = LstmLM(V, embedding_size=6, hidden_size=9)
    other.load_state_dict(model.state_dict())
    tokens = random_tokens(2, 3)
    for each in (model, other):
        each.eval()
    assert torch.equal(
        model.output(model.hidden(tokens, model.start(2))[0]),
        other.output(other.hidden(tokens, other.start(2))[0]),
    )


def test_wrong_sizes_are_refused() -> None:
    for cutoffs in ([5, 3], [V], [0], [2, 2]):
        with pytest.raises(ConfigError, match="cutoffs"):
            OutputLayer(32, V, cutoffs=cutoffs)
    with pytest.raises(ConfigError, match="order 1"):
        Nplm(V, order=1)


# Streams and training


def test_streams_cover_the_text_once_an_epoch() -> None:
    tokens = np.arange(103, dtype=np.int32)
    ranks = [
        TextBatches(tokens, batch_size=2, segment=4, seed=3, rank=rank, size=2) for rank in (0, 1)
    ]
    for epoch in (0, 1):
        rows = []
        for batches in ranks:
            parts = list(batches.epoch(epoch, 0))
            assert len(parts) == len(batches) == 7
            assert [part.is_first for part in parts] == [True] + [False] * 6
            assert all(torch.equal((p.inputs + 1) % 103, p.targets) for p in parts)
            rows.append(torch.cat([part.targets for part in parts], 1))
            later = list(batches.epoch(epoch, 5))
            assert torch.equal(later[0].inputs, parts[5].inputs)
        read = torch.cat(rows).flatten()
        assert read.shape == (100,)
        assert torch.equal((read - read[0]) % 103, torch.arange(100))
        assert (int(read[0]) == 0) == (epoch == 0)
    with pytest.raises(TrainingError, match="text of 103 tokens does not fill 200 streams"):
        TextBatches(tokens, batch_size=200, segment=4)


@pytest.mark.parametrize("kind", ["tied", "nplm"])
def test_state_goes_from_segment_to_segment_without_gradient(kind: str) -> None:
    tokens = random_tokens(200).clamp(min=1).numpy()
    tokens[37] = END
    losses = {}
    for segment in (5, 100):
        training = TextTraining(network(kind), batch_size=2)
        batches = TextBatches(tokens, batch_size=2, segment=segment)
        parts = [training(batch) for batch in batches.epoch(0, 0)]
        losses[segment] = float(sum(parts).detach())  # type: ignore[union-attr]
        # Each loss has a graph of its own: the second can go back after the first has.
        for part in parts:
            part.backward()
    assert losses[5] == pytest.approx(losses[100], rel=1e-6)


def test_a_sentence_that_begins_with_a_batch_begins_anew() -> None:
    """As in scoring, whatever the stream held before."""
    model = network("tied")
    tokens = np.array([3, 4, 5, END, 6, 7, 8, END], np.int32)
    training = TextTraining(model, batch_size=1)
    *_, last = (
        training(batch) for batch in TextBatches(tokens, batch_size=1, segment=4).epoch(0, 0)
    )
    (alone,) = sentence_log_probs(model, [[6, 7, 8]])
    assert float(last.detach()) == pytest.approx(-alone.sum(dtype=float), abs=1e-5)


def test_gradient_is_that_of_the_loss() -> None:
    """Against differences of the loss, along a random direction."""
    for kind in ("tied", "adaptive", "nplm"):
        model = network(kind)
        training = TextTraining(model, batch_size=2)
        batch = TextBatches(random_tokens(40).numpy(), batch_size=2, segment=20).largest()
        training(batch).backward()
        torch.manual_seed(4)
        direction = [torch.randn_like(p) for p in model.parameters()]
        slope = sum(float((p.grad * d).sum()) for p, d in zip(model.parameters(), direction))  # type: ignore[operator]  # noqa: B905
        values = []
        for step in (2e-4, -4e-4):
            with torch.no_grad():
                for parameter, along in zip(model.parameters(), direction, strict=True):
                    parameter.add_(along, alpha=step)
                values.append(float(training(batch)))
        assert (values[0] - values[1]) / 4e-4 == pytest.approx(slope, rel=0.02)


def test_sampled_loss_is_the_exact_one_for_many_samples() -> None:
    torch.manual_seed(2)
    output = OutputLayer(6, V)
    x, targets = torch.randn(2, 40, 6), random_tokens(2, 40)
    exact = -output.target_log_probs(x, targets)
    sampled = output.sampled_loss(x, targets, 50_000)
    torch.testing.assert_close(sampled, exact, atol=0.05, rtol=0)
    assert torch.autograd.grad(sampled.sum(), output.parameters())[0].isfinite().all()
    with pytest.raises(ConfigError, match="cutoffs"):
        OutputLayer(6, V, cutoffs=[4]).sampled_loss(x, targets, 5)


@pytest.mark.parametrize("cutoffs", [[], [3, 7]])
def test_zero_vectors_start_with_the_frequencies(cutoffs: list[int]) -> None:
    output = OutputLayer(6, V, cutoffs=cutoffs)
    counts = torch.arange(V) * 100 + 50
    output.start_from(counts)
    probabilities = output(torch.zeros(1, 6))[0].exp()
    torch.testing.assert_close(probabilities, counts / counts.sum(), atol=1e-4, rtol=0)


TOYS = ("THE CAT SAT", "THE DOG SAT", "A CAT RAN", "A DOG RAN")
ENTROPY = math.log(4)  # nats a sentence


def toy_text(folder: Path, n_sentences: int = 3000) -> Path:
    generator = np.random.default_rng(0)
    path = folder / "text.txt"
    path.write_text("\n".join(TOYS[n] for n in generator.integers(4, size=n_sentences)) + "\n")
    return path


def toy_config(text: Path, **values: object) -> NeuralConfig:
    given = {
        "text.train": [str(text)], "text.held_out": 10, "model.embedding_size": 16,
        "model.hidden_size": 32, "model.n_layers": 1, "model.dropout": 0.0,
        "training.batch_size": 8, "training.segment": 16, "training.learning_rate": 0.02,
        "training.warmup_steps": 10,
    }  # fmt: skip
    return parse_neural_config("", source="test", overrides={**given, **values}.items())


@pytest.mark.parametrize(
    "options",
    [
        {"model.kind": "lstm"},
        {"model.kind": "nplm", "model.order": 9},
        {"model.kind": "lstm", "text.units": "words", "training.epochs": 3},
        {"model.kind": "lstm", "text.units": "words", "model.cutoffs": [4], "training.epochs": 3},
        {
            "model.kind": "lstm",
            "text.units": "words",
            "training.n_samples": 12,
            "training.vectors": "cooccurrence",
            "training.epochs": 3,
        },
    ],
    ids=["lstm of characters", "nplm of characters", "lstm of words", "adaptive", "sampled"],
)
def test_learns_a_made_up_language_to_near_its_entropy(
    options: dict[str, object], tmp_path: Path
) -> None:
    config = toy_config(toy_text(tmp_path), **options)
    train(config, tmp_path / "exp")
    *_, last = [x for x in read_metrics(tmp_path / "exp/metrics.jsonl") if x["kind"] == "dev"]
    per_sentence = math.log(last["word_perplexity"]) * 4  # three words and the end
    assert per_sentence == pytest.approx(ENTROPY, abs=0.05)
    model = NeuralLanguageModel.load(tmp_path / "exp")
    sentences = [*TOYS, "THE CAT RAN"]
    scores = [part.sum() for part in model.log_probs([model.units.encode(s) for s in sentences])]
    assert scores[:4] == pytest.approx([-ENTROPY] * 4, abs=0.5)
    assert scores[4] < -5
    generator = np.random.default_rng(0)
    prefix = model.units.encode("THE" if "text.units" in options else "THE ")
    drawn = {model.units.decode(sample_tokens(model, generator, prefix=prefix)) for _ in range(20)}
    assert set(TOYS[:2]) <= drawn


@pytest.mark.parametrize("kind", ["lstm", "nplm"])
def test_resumed_training_ends_with_the_same_weights(kind: str, tmp_path: Path) -> None:
    text = toy_text(tmp_path, 300)
    for folder, stops in (("whole", (13,)), ("cut", (7, 13))):
        for steps in stops:
            config = toy_config(
                text, **{
                    "model.kind": kind, "model.dropout": 0.2, "training.max_steps": steps,
                    "training.epochs": 9, "training.schedule": "constant",
                    "training.ema_decay": 0.9, "training.evaluate_every": 13,
                },
            )  # fmt: skip
            train(config, tmp_path / folder)
    for name in ("checkpoints/step-00000013/training", "best/model"):
        whole, cut = (
            read_tensors(tmp_path / folder / f"{name}.safetensors") for folder in ("whole", "cut")
        )
        assert whole.keys() == cut.keys()
        assert all(torch.equal(whole[key], cut[key]) for key in whole)
    with pytest.raises(ConfigError, match=r"another \[model\]"):
        train(toy_config(text, **{"model.kind": kind, "model.dropout": 0.3}), tmp_path / "cut")


def test_bfloat16_trains(tmp_path: Path) -> None:
    config = toy_config(
        toy_text(tmp_path, 200), **{"training.precision": "bfloat16", "training.max_steps": 4}
    )
    train(config, tmp_path / "exp")
    assert math.isfinite(read_metrics(tmp_path / "exp/metrics.jsonl")[-1]["loss"])


# Units, folders, errors


def test_units_round_trip(tmp_path: Path) -> None:
    words = WordUnits.most_frequent(["B A B", "C </s> <unk>"], 2)
    assert words.symbols == ("</s>", "<unk>", "B", "A")
    assert words.encode("A X B") == [3, 1, 2]
    assert words.decode([3, 1, 2]) == "A <unk> B"
    characters = TokenizerUnits.of_characters(["AB A"])
    assert characters.symbols == ("</s>", "<space>", "A", "B")
    for name, units, text in (("w", words, "A B"), ("c", characters, "AB A")):
        (tmp_path / name).mkdir()
        units.save(tmp_path / name)
        loaded = load_units(tmp_path / name)
        assert loaded.symbols == units.symbols
        assert loaded.decode(loaded.encode(text)) == text
    with pytest.raises(TextError, match="character 'Z'"):
        characters.encode("AZ")
    with pytest.raises(TextError, match="'A' stands there twice"):
        WordUnits(["A", "A"])


def test_the_ids_are_those_of_the_recognisers_tokenizer(tmp_path: Path) -> None:
    tokenizer = CharTokenizer()
    tokenizer.save(tmp_path / "tokens")
    text = tmp_path / "text"
    text.write_text("It's so.\n\n" * 30)
    options = {
        "text.units": "tokenizer", "text.tokenizer": str(tmp_path / "tokens"),
        "text.normalize": True, "training.batch_size": 2, "training.max_steps": 1,
    }  # fmt: skip
    train(toy_config(text, **options), tmp_path / "exp")
    model = NeuralLanguageModel.load(tmp_path / "exp")
    assert model.units.encode("IT'S SO") == tokenizer.encode("IT'S SO")
    log_probs, _ = model.step(model.start(2), torch.tensor([0, 0]))
    assert log_probs.shape == (2, tokenizer.n_tokens)


def test_config_round_trip_and_errors() -> None:
    config = toy_config(Path('a "b".txt'), **{"model.cutoffs": [3, 5], "model.tied": False})
    assert parse_neural_config(dump_neural_config(config), source="x") == config
    for text, message in [
        ("[model]\nkin = 1", "f.toml: model.kin: unknown name"),
        (
            "[model]\nhidden_size = 'x'",
            "f.toml: model.hidden_size: input should be a valid integer",
        ),
        ("[model", "f.toml: not valid TOML"),
    ]:
        with pytest.raises(ConfigError, match=message):
            parse_neural_config(text, source="f.toml")


def test_damaged_folders_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no neural language model"):
        NeuralLanguageModel.load(tmp_path)
    model = NeuralLanguageModel(toy_config(tmp_path), TokenizerUnits(CharTokenizer()))
    model.save(tmp_path, {})
    config = (tmp_path / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(config.replace("hidden_size = 32", "hidden_size = 33"))
    with pytest.raises(CheckpointError, match=f"{tmp_path}: weights and config") as raised:
        NeuralLanguageModel.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_text_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"fine  text\n\nno end")
    assert read_sentences([path]) == ["fine text", "", "no end"]
    path.write_bytes(b"\n \n")
    with pytest.raises(TrainingError, match="no sentence for train"):
        train(toy_config(path), tmp_path / "exp")
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(TextError, match="not UTF-8"):
        read_sentences([path])


# The command


def test_command_from_text_to_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, folder = toy_text(tmp_path, 400), str(tmp_path / "exp")
    settings = ["model.hidden_size=16", "training.max_steps=5", "training.batch_size=4"]
    options = [part for each in settings for part in ("--set", each)]
    command = ["train", str(text), "-o", folder, "--kind", "lstm", "--vocabulary-size", "5"]
    assert main([*command, "--dev", str(text), *options]) == 0
    assert f"{folder}/best: perplexity " in capsys.readouterr().out
    model = NeuralLanguageModel.load(folder)
    assert len(model.symbols) == 7

    (tmp_path / "some.txt").write_text("THE COW\n\n")
    assert main(["score", folder, str(tmp_path / "some.txt"), "--words"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, second = model.log_probs([model.units.encode("THE COW"), []])
    assert lines == [
        f"{first.sum(dtype=float):.4f}\tTHE COW",
        f"  {first[0]:.4f}\tTHE",
        f"  {first[1]:.4f}\t<unk> (unknown)",
        f"  {first[2]:.4f}\t</s>",
        f"{second.sum(dtype=float):.4f}\t",
        f"  {second[0]:.4f}\t</s>",
    ]
    assert main(["perplexity", folder, str(tmp_path / "some.txt"), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert (measured["n_sentences"], measured["n_words"], measured["n_unknown"]) == (2, 2, 1)
    mean = float(np.concatenate([first, second]).mean())
    assert measured["perplexity"] == pytest.approx(math.exp(-mean), rel=1e-5)
    assert measured["word_perplexity"] == pytest.approx(math.exp(-mean), rel=1e-5)
    generate = ["generate", folder, "-n", "2", "--prefix", "THE", "--max-words", "6"]
    assert main(generate) == 0
    drawn = capsys.readouterr().out
    assert all(line.startswith("THE") for line in drawn.splitlines())
    assert main(generate) == 0
    assert capsys.readouterr().out == drawn


def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = str(toy_text(tmp_path, 20))
    for arguments, message in [
        (["train", text, "-o", text, "--kind", "lstm"], "is a file; a neural model is a folder"),
        (["train", text, "-o", "x.arpa", "--pieces", "50"], "are for --kind lstm and nplm"),
        (["train", text, "-o", "x", "--kind", "nplm", "--set", "a"], "section.name=value"),
        (["train", text, "-o", "x", "--kind", "nplm", "--set", "model.q=1"], "model.q: unknown"),
        (["score", str(tmp_path), text], "no neural language model"),
        (["score", str(tmp_path), text, "--characters"], "knows its own units"),
    ]:
        assert main(arguments) == 2
        errors = capsys.readouterr().err
        assert message in errors
        assert errors.count("\n") == 1


def test_a_larger_model_goes_on_from_a_smaller_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy_config(toy_text(tmp_path, 100), **{"training.max_steps": 3})
    train(config, tmp_path / "small")
    small = NeuralLanguageModel.load(tmp_path / "small")
    wide = config.model.model_copy(update={"hidden_size": config.model.hidden_size + 3})
    larger = config.model_copy(update={"model": wide, "seed": 5})
    made = NeuralLanguageModel(larger, small.units).eval()
    start_from_model(made, small)
    sentences = [[2, 3, 4], [5]]
    for new, old in zip(made.log_probs(sentences), small.log_probs(sentences), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-5)
    # The new units learn: what reads them does not stay 0.
    train(larger, tmp_path / "larger", init_from=tmp_path / "small")
    found = NeuralLanguageModel.load(tmp_path / "larger")
    assert found.symbols == small.symbols
    read = found.network.output.linear.weight[:, config.model.hidden_size :]
    assert bool((read != 0).any())
    for changed, part in [({"hidden_size": 1}, "hidden_size"), ({"n_layers": 3}, "n_layers")]:
        other = larger.model_copy(update={"model": wide.model_copy(update=changed)})
        with pytest.raises(ConfigError, match=f"--init-from: {part} of"):
            train(other, tmp_path / part, init_from=tmp_path / "small")
    text = str(tmp_path / "text.txt")
    assert main(["train", text, "-o", str(tmp_path / "n"), "--init-from", text]) == 2
    assert "--init-from" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["half", "int8"])
def test_a_model_is_shipped_with_rounded_weights(
    precision: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = toy_config(toy_text(tmp_path, 100), **{"training.max_steps": 2})
    train(config, tmp_path / "exp")
    main_of_tool = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "ship_lm.py"))["main"]
    options = ["--precision", precision]
    assert main_of_tool([str(tmp_path / "exp"), str(tmp_path / "shipped"), *options]) == 0
    assert capfd.readouterr().out.startswith(f"{tmp_path / 'shipped'}: ")
    assert str(tmp_path) not in (tmp_path / "shipped" / "config.toml").read_text()
    whole, rounded = (NeuralLanguageModel.load(tmp_path / name) for name in ("exp", "shipped"))
    assert rounded.network.embedding.weight.dtype == torch.float32
    (expected,), (found,) = (model.log_probs([[2, 3, 4]]) for model in (whole, rounded))
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert not np.array_equal(found, expected)
    assert main_of_tool([str(tmp_path / "none"), str(tmp_path / "shipped")]) == 2
    assert capfd.readouterr().err.count("\n") == 1
