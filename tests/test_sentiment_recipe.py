"""recipes/sentiment: cleaning, parts, networks, a trained classifier as a folder; a tiny run."""

import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from asr.errors import AsrError
from asr.text import CharTokenizer
from asr.world import World
from lm.neural_config import NeuralConfig, NeuralModelConfig
from lm.neural_model import NeuralLanguageModel
from lm.units import TokenizerUnits
from tests.recipe_scripts import ROOT, imported, run

RECIPE = ROOT / "recipes" / "sentiment"
WORDS = ["film", "story", "actor", "scene", "music", "people", "camera", "end"]
MODULES = (
    "sentiment_config",
    "cleaning",
    "sentiment_data",
    "text_training",
    "lstm_classifier",
    "transformer_classifier",
    "predictor",
    "tfidf",
    "score",
    "prepare",
    "train",
    "predict",
)


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, MODULES) as modules:
        yield modules


@pytest.mark.parametrize(
    ("text", "cleaned", "folded"),
    [
        (
            "@ali_99 see https://t.co/x1?y=2 &amp; smile!",
            "USER see LINK & smile!",
            "user see link & smile !",
        ),
        ("a\u00a0 mail@home.org\n", "a mail@home.org", "a mail @ home . org"),
        # Vowel marks, a long stroke, and the forms of alef, ya and ta marbuta.
        ("أَهْلاً جمـــيلة إلى", "أَهْلاً جمـــيلة إلى", "اهلا جميله الي"),
        ("#حزب_النور هههههه", "#حزب_النور هههههه", "حزب النور هه"),
    ],
)
def test_cleaning(recipe: SimpleNamespace, text: str, cleaned: str, folded: str) -> None:
    found = recipe.cleaning.clean(text, link="LINK", user="USER")
    assert found == cleaned
    assert recipe.cleaning.fold(found) == folded
    assert recipe.cleaning.fold(folded) == folded


def test_a_sample_is_that_of_pandas(recipe: SimpleNamespace) -> None:
    # pandas.DataFrame(range(10)).sample(frac=0.8, random_state=42).index
    assert recipe.sentiment_data.sample_positions(10, 0.8, 42) == [8, 1, 5, 0, 7, 2, 9, 4]


def test_stratified_parts_have_the_labels_alike(recipe: SimpleNamespace) -> None:
    data = recipe.sentiment_data
    examples = [data.Example(f"text {n}", "good" if n % 4 else "bad") for n in range(400)]
    parts = data.stratified(examples)
    for part, n_texts in ((parts.train, 288), (parts.dev, 32), (parts.test, 80)):
        counts = Counter(example.label for example in part)
        assert counts == {"good": n_texts * 3 // 4, "bad": n_texts // 4}
    assert sorted(examples, key=str) == sorted([*parts.train, *parts.dev, *parts.test], key=str)


def test_a_text_is_in_one_part_only(recipe: SimpleNamespace) -> None:
    data = recipe.sentiment_data
    a, again, b, c = (
        data.Example(text, "x")
        for text in ("Great film!", "great  film ! http://t.co/1", "bad", "other")
    )
    parts = data.apart(data.Parts([a, b, c], [again, b], [again]))
    assert parts == data.Parts([c], [b], [again])


def test_unusable_tables_are_refused(recipe: SimpleNamespace, tmp_path: Path) -> None:
    data, path = recipe.sentiment_data, tmp_path / "tweets.csv"
    config = recipe.sentiment_config.CsvConfig(file=str(path))
    for content, part in (
        ("text,label\na,b\n", "no column 'tweet_txt', it has 'text', 'label'"),
        ("tweet_txt,sentiment\na,good\nb\n", "line 3: no label"),
        ("tweet_txt,sentiment\na,\n", "line 2: no label"),
    ):
        path.write_text(content)
        with pytest.raises(AsrError, match=part):
            data.read_set("csv", tmp_path, config)
    with pytest.raises(AsrError, match="no set 'imdb'; there are arsarcasm"):
        data.read_set("imdb", tmp_path, config)


def test_astd_has_the_parts_of_its_authors(recipe: SimpleNamespace, tmp_path: Path) -> None:
    folder = tmp_path / "astd"
    folder.mkdir()
    (folder / "Tweets.txt").write_text("".join(f"tweet\t{n}\tPOS\r\n" for n in range(5)))
    for part, rows in (("train", "3\n0\n"), ("validation", "4\n"), ("test", "1\n2\n")):
        (folder / f"4class-unbalanced-{part}.txt").write_text(rows)
    data, config = recipe.sentiment_data, recipe.sentiment_config.CsvConfig()
    parts = data.read_set("astd", tmp_path, config)
    assert parts.train == [data.Example(f"tweet\t{n}", "POS") for n in (3, 0)]
    assert [example.text[-1] for example in (*parts.dev, *parts.test)] == ["4", "1", "2"]
    (folder / "4class-unbalanced-test.txt").write_text("5\n")
    with pytest.raises(AsrError, match=r"test\.txt: line numbers .* from 0 to 4"):
        data.read_set("astd", tmp_path, config)
    (folder / "Tweets.txt").write_text("no label\n")
    with pytest.raises(AsrError, match=r"Tweets\.txt, line 1: a text, a tab and a label"):
        data.read_set("astd", tmp_path, config)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("arsarcasm", (11277, 1254, 3000)),
        ("astd", (6001, 1997, 1999)),
        ("ajgt", (1296, 144, 360)),
        ("rt-polarity", (7678, 852, 2132)),
    ],
)
def test_the_real_sets(
    recipe: SimpleNamespace, asr_data: Path, name: str, sizes: tuple[int, ...]
) -> None:
    if name == "ajgt":
        pytest.importorskip("openpyxl")
    config = recipe.sentiment_config.CsvConfig()
    parts = recipe.sentiment_data.read_set(name, asr_data / "text", config)
    each = (parts.train, parts.dev, parts.test)
    assert tuple(map(len, each)) == sizes
    texts = [{recipe.sentiment_data.same_text(e.text) for e in part} for part in each]
    assert not texts[0] & (texts[1] | texts[2])
    assert not texts[1] & texts[2]


def test_figures_by_hand(recipe: SimpleNamespace) -> None:
    training = recipe.text_training
    counts = training.confusion([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 0], 3)
    assert counts.tolist() == [[2, 1, 0], [0, 1, 1], [1, 0, 0]]
    found = training.figures(counts)
    assert found["accuracy"] == pytest.approx(3 / 6)
    # precision and recall: 2/3 and 2/3; 1/2 and 1/2; 0 and 0
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_class_weights(recipe: SimpleNamespace) -> None:
    weights = recipe.text_training.class_weights([0, 0, 0, 1], 2, 1.0)
    np.testing.assert_allclose(weights, [2 / 3, 2])
    weights = recipe.text_training.class_weights([0, 0, 0, 1], 2, 0.0)
    np.testing.assert_allclose(weights, [1, 1])


def test_batches_hold_each_text_once_and_go_on_where_they_were(recipe: SimpleNamespace) -> None:
    texts = recipe.text_training.Encoded([[n + 1] * (1 + n % 5) for n in range(23)], [*range(23)])
    batches = recipe.text_training.LabelledBatches(texts, 4, seed=1)
    whole = [*batches.epoch(0, 0)]
    assert len(whole) == len(batches) == 6
    assert sorted(label for batch in whole for label in batch.labels.tolist()) == [*range(23)]
    for batch in whole:
        for row, length, label in zip(batch.tokens, batch.lengths, batch.labels, strict=True):
            assert row[:length].tolist() == texts.tokens[label]
            assert not row[length:].any()
    rest = [*batches.epoch(0, 4)]
    assert [batch.labels.tolist() for batch in rest] == [b.labels.tolist() for b in whole[4:]]
    assert [b.labels.tolist() for b in batches.epoch(1, 0)] != [b.labels.tolist() for b in whole]


def test_pooling_by_hand(recipe: SimpleNamespace) -> None:
    pool = recipe.lstm_classifier.pool
    h = torch.tensor([[[1.0, -2], [3, -4], [5, -9]], [[-1.0, 7], [0, 0], [0, 0]]])
    lengths = torch.tensor([3, 1])
    assert pool(h, lengths).tolist() == [[5, -9, 5, -2, 3, -5], [-1, 7, -1, 7, -1, 7]]
    # Backwards, reading ends at the first frame.
    assert pool(h, lengths, 2)[0].tolist() == [5, -2, 5, -2, 3, -5]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_text_gives_the_same_alone_and_in_a_batch(
    recipe: SimpleNamespace, bidirectional: bool
) -> None:
    torch.manual_seed(0)
    network = recipe.lstm_classifier.LstmNetwork(
        9, 3, embedding_size=5, hidden_size=6, n_layers=2, bidirectional=bidirectional
    ).eval()
    texts = [[1, 2, 3, 4], [5], [], [8, 8, 7]]
    together = recipe.text_training.run_network(network, texts)
    for row, text in enumerate(texts):
        alone = recipe.text_training.run_network(network, [text])
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-6)


@pytest.fixture
def language_model() -> NeuralLanguageModel:
    torch.manual_seed(1)
    model = NeuralModelConfig(embedding_size=6, hidden_size=5, n_layers=2)
    units = TokenizerUnits(CharTokenizer("abcdefgh"))
    return NeuralLanguageModel(NeuralConfig(model=model), units).eval()


def small(recipe: SimpleNamespace, **values: object) -> SimpleNamespace:
    config = recipe.sentiment_config
    return config.ClassifierConfig(
        labels=["bad", "good"],
        model=NeuralModelConfig(embedding_size=6, hidden_size=5, n_layers=2, dropout=0.0),
        head=config.HeadConfig(hidden_size=16, dropout=0.0, token_dropout=0.0),
        **values,
    )


def test_the_classifier_reads_as_its_language_model(
    recipe: SimpleNamespace, language_model: NeuralLanguageModel
) -> None:
    predictor = recipe.predictor.make_lstm(
        small(recipe, kind="ulmfit"), language_model.units.tokenizer
    )
    network = predictor.network.eval()
    recipe.lstm_classifier.start_from_language_model(network, language_model)
    seen = []
    network.stack.register_forward_hook(lambda module, given, y: seen.append(y))
    tokens = torch.tensor([[3, 1, 4]])
    network(tokens, torch.tensor([3]))
    hidden, _ = language_model.network.hidden(torch.tensor([[0, 3, 1, 4]]), language_model.start(1))
    torch.testing.assert_close(seen[0], hidden)
    other = recipe.predictor.make_lstm(small(recipe, kind="ulmfit"), CharTokenizer("ab"))
    with pytest.raises(AsrError, match="other sizes"):
        recipe.lstm_classifier.start_from_language_model(other.network, language_model)


def texts_of_two_kinds(n_texts: int) -> list[tuple[str, int]]:
    """Texts of a to h that are good if h is among them."""
    generator = np.random.default_rng(0)
    texts = ["".join(generator.choice([*"abcdefg"], 5)) for _ in range(n_texts)]
    return [(t if n % 2 else f"{t[:2]}h{t[2:]}", 1 - n % 2) for n, t in enumerate(texts)]


def test_fine_tuning_opens_group_by_group_and_learns(
    recipe: SimpleNamespace, language_model: NeuralLanguageModel, tmp_path: Path
) -> None:
    predictor = recipe.predictor.make_lstm(
        small(recipe, kind="ulmfit"), language_model.units.tokenizer
    )
    network = predictor.network
    recipe.lstm_classifier.start_from_language_model(network, language_model)
    # More updates an epoch than the log has in a line.
    texts, labels = zip(*texts_of_two_kinds(440), strict=True)
    encoded = recipe.text_training.Encoded(predictor.encode(texts), labels)
    task = recipe.text_training.TextTask(network, encoded, torch.ones(2), predictor.save)
    config = recipe.sentiment_config.FineTuningConfig(
        epochs=8, learning_rate=0.02, batch_size=20, rate_factor=1.5
    )
    before = {name: value.clone() for name, value in network.named_parameters()}
    moved: list[set[str]] = []
    save = predictor.save

    def watch(folder: Path, metrics: object) -> None:
        moved.append(
            {
                name.rpartition(".")[0]
                for name, value in network.named_parameters()
                if not torch.equal(value, before[name])
            }
        )
        save(folder, metrics)

    task.save = watch
    arguments = {"world": World(), "seed": 0}
    recipe.lstm_classifier.fine_tune(task, network, encoded, config, tmp_path, **arguments)
    head = {"hidden", "output"}
    top = {*head, "stack.layers.1.rnn"}
    assert moved[0] == head
    assert top in moved
    assert {*top, "stack.layers.0.rnn"} in moved
    assert moved[-1] == {*top, "stack.layers.0.rnn", "embedding"}
    loaded = recipe.predictor.Predictor.load(tmp_path)
    found = [loaded.config.labels.index(each.label) for each in loaded.predict(texts)]
    assert np.mean(np.equal(found, labels)) > 0.9
    assert math.isclose(sum(loaded.predict(["abc"])[0].probabilities.values()), 1, rel_tol=1e-5)
    # The same call again finds all done, and changes nothing.
    moved.clear()
    after = {name: value.clone() for name, value in network.named_parameters()}
    recipe.lstm_classifier.fine_tune(task, network, encoded, config, tmp_path, **arguments)
    assert all(torch.equal(after[name], value) for name, value in network.named_parameters())
    assert not moved


@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_regression_becomes_a_layer(recipe: SimpleNamespace, n_labels: int) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(60) % n_labels
    vectors = generator.normal(size=(60, 4)) + np.eye(4)[labels]
    model = recipe.tfidf.best_regression(vectors, labels, vectors, labels, n_labels)
    layer = torch.nn.Linear(4, n_labels)
    recipe.tfidf.put_regression(model, layer)
    found = layer(torch.from_numpy(vectors).float()).softmax(-1)
    np.testing.assert_allclose(found.detach(), model.predict_proba(vectors), atol=1e-5)


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    """A file like ASAD's, whose labels follow from a word."""
    path = tmp_path / "tweets.csv"
    generator = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Tweet_id", "tweet_txt", "sentiment"])
        for number in range(300):
            kind = ("good", "bad")[number % 2]
            text = " ".join([*generator.choice(WORDS, 4, replace=False), kind, f"w{number}"])
            writer.writerow([number, text, kind.title()])
    return path


def sets(models: str, tweets: Path) -> list[str]:
    """Options that run models on a file alone."""
    options = [f"runs={{csv=[{models}]}}", f'csv.file="{tweets}"', "preparation.n_pieces=60",
               "preparation.limit={}"]  # fmt: skip
    return [part for option in options for part in ("--set", option)]


def test_from_a_table_to_the_sentiment_of_a_sentence(
    recipe: SimpleNamespace, tweets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf, exp = RECIPE / "conf" / "tiny.toml", tmp_path / "exp"
    options = sets('"tfidf", "lstm"', tweets)
    options += ["--set", "training.epochs=3", "--set", "training.learning_rate=0.02"]
    arguments = [str(conf), str(exp), *options]
    assert recipe.prepare.main([str(conf), str(tmp_path), str(exp), *options]) == 0
    assert "csv: 216 texts to train on, 24 dev, 60 test, 2 labels" in capsys.readouterr().out
    assert recipe.train.main(arguments) == 0
    assert recipe.score.main([str(exp)]) == 0
    models = json.loads((exp / "score.json").read_text())["sets"]["csv"]["models"]
    assert models["tfidf"]["test_macro_f1"] == [1.0]
    assert min(models["lstm"]["test_macro_f1"]) > 0.9
    assert np.sum(models["lstm"]["confusion"]) == 2 * 60
    assert (exp / "confusion.png").read_bytes().startswith(b"\x89PNG")
    table = capsys.readouterr().out
    assert "| csv | 216, 60 | TF-IDF, logistic regression | 1 | 100.0 | 100.0 |" in table
    assert "| csv | 216, 60 | LSTM from scratch | 2 | " in table
    model = exp / "models" / "csv" / "lstm-0"
    sentences = ["film actor scene end good", "music people story end bad ☃"]
    assert recipe.predict.main([str(model), *sentences]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["Good", "Bad"]
    assert all(0.5 < float(row[1]) <= 1 for row in rows)
    assert [row[2] for row in rows] == sentences
    # What is done is not done again, and not mixed with something else.
    before = (model / "test.txt").stat().st_mtime_ns
    assert recipe.train.main(arguments) == 0
    assert (model / "test.txt").stat().st_mtime_ns == before
    assert recipe.train.main([*arguments, "--set", "model.hidden_size=9"]) == 2
    assert "was trained with other settings" in capsys.readouterr().err


@pytest.fixture(scope="module")
def bert(recipe: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT of random weights as a folder."""
    pytest.importorskip("transformers")
    transformers = recipe.transformer_classifier.import_transformers()
    folder = tmp_path_factory.mktemp("bert")
    words = [*WORDS, "good", "bad", "w", "##0", "##1", "##2", "##3"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_transformers_frozen_and_fine_tuned(
    recipe: SimpleNamespace,
    bert: Path,
    tweets: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    conf, exp = RECIPE / "conf" / "tiny.toml", tmp_path / "exp"
    options = sets('"frozen", "finetuned"', tweets)
    for option in (f'model="{bert}"', "epochs=6", "learning_rate=5e-3", "batch_size=16"):
        options += ["--set", f"transformer.{option}"]
    assert recipe.prepare.main([str(conf), str(tmp_path), str(exp), *options]) == 0
    assert recipe.train.main([str(conf), str(exp), *options]) == 0
    assert recipe.score.main([str(exp)]) == 0
    models = json.loads((exp / "score.json").read_text())["sets"]["csv"]["models"]
    assert models["finetuned"]["test_macro_f1"] == [1.0]
    assert models["frozen"]["test_macro_f1"][0] > 0.8
    capsys.readouterr()
    examples = recipe.sentiment_data.read_part(exp / "data" / "csv" / "test.csv")
    texts = [example.text for example in examples]
    for kind in ("frozen", "finetuned"):
        folder = exp / "models" / "csv" / f"{kind}-0"
        predictor = recipe.predictor.Predictor.load(folder)
        together = predictor.predict(texts)
        assert [each.label for each in together] == (folder / "test.txt").read_text().split()
        (alone,) = predictor.predict(["bad"])
        among = predictor.predict([*texts[:3], "bad"])[-1]
        assert alone.probabilities == pytest.approx(among.probabilities, abs=1e-5)


def test_a_model_that_is_nowhere(
    recipe: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer = recipe.transformer_classifier
    with pytest.raises(AsrError, match="pip install --no-deps no-such-package"):
        transformer.find_model("package:no_such_package")
    assert transformer.find_model("package:asr") == str(ROOT / "asr" / "model")
    pytest.importorskip("transformers")
    with pytest.raises(AsrError, match="not to be had from the hub"):
        transformer.load_tokenizer(str(tmp_path))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(AsrError, match="need transformers: pip install"):
        transformer.load_tokenizer(str(tmp_path))


def test_wrong_input_is_told_in_one_line(
    recipe: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = str(RECIPE / "conf" / "tiny.toml")
    data = str(tmp_path)
    for main, arguments, part in (
        (recipe.prepare.main, [conf, data, data], "arsarcasm-v2/training_data.csv: cannot be read"),
        (recipe.prepare.main, [conf, data, data, "--set", "runs={}"], "runs: empty"),
        (
            recipe.prepare.main,
            [conf, data, data, "--set", 'runs={ajgt=["ulmfit"]}'],
            "runs.ajgt: ulmfit needs the set in lm.sets",
        ),
        (recipe.predict.main, [data, "a"], "is no classifier"),
        (recipe.score.main, [data], "no model there"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert part in error
        assert error.count("\n") == 1


@pytest.mark.recipe
def test_tiny_runs(asr_data: Path, tmp_path: Path) -> None:
    command = ["bash", RECIPE / "run.sh", "--data", asr_data / "text", "--exp", tmp_path]
    done = run(*command, "--conf", "tiny", timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads((tmp_path / "score.json").read_text())["sets"].values()
    assert [*result["models"]] == ["tfidf", "lstm", "ulmfit"]
    assert result["models"]["ulmfit"]["n_seeds"] == 2
    assert (tmp_path / "confusion.png").stat().st_size > 1000
