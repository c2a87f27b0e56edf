"""What each command of `python -m lm` does."""

import argparse
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from asr.errors import ConfigError, LanguageModelError
from lm.arpa import read_arpa, write_arpa
from lm.backoff import BackoffModel
from lm.corpus import (
    SPACE,
    Progress,
    Split,
    read_blocks,
    read_corpus,
    read_words,
    split_characters,
)
from lm.counts import count_ngrams, maximum_likelihood
from lm.kneser_ney import FALLBACK, Smoothing, estimate
from lm.language_model import LanguageModel, file_kind, load_language_model
from lm.lmplz import train_with_lmplz
from lm.mix import best_weights, mix_models, mixed_perplexity
from lm.perplexity import Perplexity, measure_perplexity
from lm.prune import prune_by_entropy, restrict
from lm.sampling import join_units, sample_sentence
from lm.table import NgramTable
from lm.text_parts import PartSizes, first_words, repeated, split_text
from lm.units import WordUnits

__all__ = ["convert", "generate", "mix", "perplexity", "prune", "score", "split", "train"]

_ARPA_SUFFIXES = (".arpa", ".arpa.gz", ".arpa.xz")
_TABLE_SUFFIX = ".ngram"
# Words of a sentence that no two writers write by chance.
_MIN_REPEATED = 8


def _split(arguments: argparse.Namespace, *, characters: bool = False) -> Split | None:
    """What parts a line into units; None where white space does."""
    split: Split | None = None
    if arguments.tokenizer is not None:
        split = _tokens(arguments.tokenizer)
    elif arguments.characters or characters:
        split = split_characters
    if not arguments.normalize:
        return split
    from asr.text import normalize

    parts = split or str.split
    return lambda line: parts(normalize(line))


def _tokens(folder: str) -> Split:
    from asr.text import load_tokenizer

    tokenizer = load_tokenizer(folder)
    symbols = [SPACE if symbol == " " else symbol for symbol in tokenizer.symbols]
    return lambda line: [symbols[token] for token in tokenizer.encode(line)]


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    tasks: dict[str, TaskID] = {}
    console = Console(stderr=True)
    with Bars(console=console, transient=True, disable=not console.is_terminal) as bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield show


def _check_output(arguments: argparse.Namespace) -> None:
    path: str = arguments.output
    if not path.endswith((*_ARPA_SUFFIXES, _TABLE_SUFFIX)):
        suffixes = f"{', '.join(_ARPA_SUFFIXES)} or {_TABLE_SUFFIX}"
        raise ConfigError(f"{path}: the name must end in {suffixes}")
    given = {"quantize": arguments.quantize is not None, "compress": arguments.compress}
    for name in (name for name, is_given in given.items() if is_given):
        if not path.endswith(_TABLE_SUFFIX):
            raise ConfigError(f"--{name} is for tables; {path} does not end in {_TABLE_SUFFIX}")


def _write(model: BackoffModel, arguments: argparse.Namespace, progress: Progress) -> None:
    if not arguments.output.endswith(_TABLE_SUFFIX):
        write_arpa(model, arguments.output, on_progress=progress)
        return
    table = NgramTable.from_model(model)
    if arguments.quantize is not None:
        table, error = table.quantize(arguments.quantize)
        print(
            f"{arguments.quantize} bits: log-probabilities off by {error.mean_absolute:.2g} on "
            f"average, {error.largest:.2g} at most (natural logs)"
        )
    table.save(arguments.output, compress=arguments.compress)


def _read_model(path: str, progress: Progress) -> BackoffModel:
    kind = file_kind(path)
    if kind == "table":
        return NgramTable.load(path, verify=True).to_model()
    if kind == "kenlm":
        raise LanguageModelError(
            f"{path}: a KenLM binary cannot be taken apart; give the ARPA file it was made from"
        )
    return read_arpa(path, on_progress=progress)


def train(arguments: argparse.Namespace) -> None:
    """Estimate a model from text and write it."""
    if arguments.kind != "ngram":
        from lm.neural_commands import train_neural

        train_neural(arguments)
        return
    neural = ("config", "overrides", "init_from", "dev", "pieces")
    if any(getattr(arguments, name) for name in neural):
        raise ConfigError(
            "--config, --set, --init-from, --dev and --pieces are for --kind lstm and nplm"
        )
    _check_output(arguments)
    with _progress() as progress:
        if arguments.engine == "lmplz":
            _train_with_lmplz(arguments, progress)
        else:
            _train_with_numpy(arguments, progress)


def _smoothing(arguments: argparse.Namespace) -> Smoothing:
    fallback = arguments.discount_fallback
    if fallback is not None:
        values = fallback or FALLBACK
        if len(values) > 3:
            raise ConfigError(f"--discount-fallback takes at most 3 numbers, not {len(values)}")
        first, second, third = [*values, values[-1], values[-1]][:3]
        fallback = (first, second, third)
    return Smoothing(tuple(arguments.prune), fallback)


def _train_with_numpy(arguments: argparse.Namespace, progress: Progress) -> None:
    smoothing = _smoothing(arguments)
    smoothing.thresholds(arguments.order)  # before the text is read
    vocabulary = read_words(arguments.vocabulary) if arguments.vocabulary else None
    corpus = read_corpus(
        arguments.text,
        split=_split(arguments),
        skip_symbols=arguments.skip_symbols,
        on_progress=progress,
    )
    if arguments.vocabulary_size:
        vocabulary = corpus.most_frequent(arguments.vocabulary_size)
    is_relative = arguments.estimator == "maximum-likelihood"
    if vocabulary is not None and (is_relative or arguments.count_unknown):
        corpus, vocabulary = corpus.limit(vocabulary), None
    if is_relative:
        model = maximum_likelihood(count_ngrams(corpus, arguments.order))
    else:
        counts = count_ngrams(corpus, arguments.order)
        del corpus
        model = estimate(counts, smoothing, vocabulary=vocabulary, on_progress=progress)
    _write(model, arguments, progress)
    _report(model, arguments.output)


def _train_with_lmplz(arguments: argparse.Namespace, progress: Progress) -> None:
    if arguments.estimator != "kneser-ney":
        raise ConfigError("lmplz makes Kneser-Ney models only; leave --engine lmplz out")
    if arguments.count_unknown:
        raise ConfigError("lmplz counts no <unk>; leave --engine lmplz or --count-unknown out")
    if arguments.vocabulary_size:
        raise ConfigError("lmplz takes a word list: --vocabulary instead of --vocabulary-size")
    with tempfile.TemporaryDirectory() as folder:
        is_table = arguments.output.endswith(_TABLE_SUFFIX)
        arpa = Path(folder, "model.arpa") if is_table else Path(arguments.output)
        train_with_lmplz(
            arguments.text,
            arpa,
            arguments.order,
            _smoothing(arguments),
            vocabulary=read_words(arguments.vocabulary) if arguments.vocabulary else None,
            split=_split(arguments),
            skip_symbols=arguments.skip_symbols,
            memory=arguments.memory,
            on_progress=progress,
        )
        if is_table:
            model = read_arpa(arpa, on_progress=progress)
            _write(model, arguments, progress)
            _report(model, arguments.output)


def _report(model: BackoffModel, output: str) -> None:
    sizes = ", ".join(f"{len(o):,} {n}-grams" for n, o in enumerate(model.orders, start=1))
    print(f"{output}: {sizes}")


def _sentences(arguments: argparse.Namespace, model: LanguageModel) -> Iterator[list[str]]:
    # Nothing but a model of characters knows spaces.
    split = _split(arguments, characters=model.word_id(SPACE) != 0)
    for block, _ in read_blocks(arguments.text, split=split):
        for line in block.split(b"\n")[:-1]:
            # Bytes that are not UTF-8 make an unknown word.
            yield [word.decode(errors="replace") for word in line.split()]


def score(arguments: argparse.Namespace) -> None:
    """Print the log-probability of each line."""
    if os.path.isdir(arguments.model):
        from lm import neural_commands

        neural_commands.score(arguments)
        return
    model = load_language_model(arguments.model)
    for words in _sentences(arguments, model):
        log_probs = model.log_probs(words)
        print(f"{log_probs.sum(dtype=float):.4f}\t{' '.join(words)}")
        if arguments.words:
            for word, log_prob in zip([*words, "</s>"], log_probs, strict=True):
                known = word == "</s>" or model.word_id(word) != 0
                print(f"  {log_prob:.4f}\t{word}{'' if known else ' (unknown)'}")


def perplexity(arguments: argparse.Namespace) -> None:
    """Print perplexities and the rate of unknown words of texts."""
    if os.path.isdir(arguments.model):
        from lm import neural_commands

        neural_commands.perplexity(arguments)
        return
    model = load_language_model(arguments.model)
    measured = measure_perplexity(model, _sentences(arguments, model))
    print(_as_json(measured) if arguments.json else _as_text(measured))


def _as_text(measured: Perplexity) -> str:
    value = measured.perplexity
    return (
        f"sentences {measured.n_sentences:,}  words {measured.n_words:,}  "
        f"unknown {measured.n_unknown:,} ({measured.unknown_rate:.2%})\n"
        f"{'perplexity':24}{'with unknown':>16}{'without unknown':>18}\n"
        f"{'with sentence ends':24}{value():16.2f}{value(unknown=False):18.2f}\n"
        f"{'without sentence ends':24}{value(ends=False):16.2f}"
        f"{value(ends=False, unknown=False):18.2f}"
    )


def _as_json(measured: Perplexity) -> str:
    values = {
        "perplexity": measured.perplexity(),
        "perplexity_without_unknown": measured.perplexity(unknown=False),
        "perplexity_without_ends": measured.perplexity(ends=False),
        "perplexity_without_ends_and_unknown": measured.perplexity(ends=False, unknown=False),
    }
    fields = {
        "sentences": measured.n_sentences,
        "words": measured.n_words,
        "unknown": measured.n_unknown,
        "unknown_rate": measured.unknown_rate,
        **{name: value if math.isfinite(value) else None for name, value in values.items()},
    }
    return json.dumps(fields, indent=2)


def convert(arguments: argparse.Namespace) -> None:
    """Write a model in another format; a quantised table keeps its bits unless others are asked."""
    _check_output(arguments)
    keeps_bits = arguments.quantize is None and arguments.output.endswith(_TABLE_SUFFIX)
    with _progress() as progress:
        model = _read_model(arguments.model, progress)
        if keeps_bits and file_kind(arguments.model) == "table":
            table = NgramTable.load(arguments.model)
            table.save(arguments.output, compress=arguments.compress)
        else:
            _write(model, arguments, progress)
        _report(model, arguments.output)


def prune(arguments: argparse.Namespace) -> None:
    """Write a smaller model."""
    _check_output(arguments)
    if arguments.entropy is None and arguments.vocabulary is None:
        raise ConfigError("prune needs --entropy, --vocabulary or both")
    with _progress() as progress:
        model = _read_model(arguments.model, progress)
        if arguments.vocabulary is not None:
            words = read_words(arguments.vocabulary)
            model = restrict(model, words, renormalize=not arguments.keep_scores)
        if arguments.entropy is not None:
            model = prune_by_entropy(model, arguments.entropy)
        _write(model, arguments, progress)
        _report(model, arguments.output)


def mix(arguments: argparse.Namespace) -> None:
    """Write one model made of several."""
    _check_output(arguments)
    if bool(arguments.weights) == bool(arguments.text):
        raise ConfigError("mix needs the models' --weights, or a text to --tune them on")
    with _progress() as progress:
        tables = [_table(path, progress) for path in arguments.models]
        weights = arguments.weights or _tuned_weights(arguments, tables)
        model = mix_models(tables, weights)
        _write(model, arguments, progress)
        _report(model, arguments.output)


def _tuned_weights(arguments: argparse.Namespace, tables: Sequence[NgramTable]) -> list[float]:
    sentences = list(_sentences(arguments, tables[0]))
    weights, perplexity_of_all = best_weights(tables, sentences)
    for path, table, weight in zip(arguments.models, tables, weights, strict=True):
        alone = mixed_perplexity([table], sentences, [1.0])
        print(f"{path}: weight {weight:.4f}, alone perplexity {alone:.2f} on the words it knows")
    print(f"mixture: perplexity {perplexity_of_all:.2f} on the words that any of them knows")
    return weights


def split(arguments: argparse.Namespace) -> None:
    """Write the parts of a text, and the most frequent words."""
    sizes = PartSizes(
        arguments.words, arguments.dev_words, arguments.test_words, arguments.gap_words
    )
    parts = split_text(arguments.text, sizes)
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    words: set[str] | None = None
    if arguments.vocabulary:
        counted: Sequence[str] = parts.training
        if arguments.vocabulary_from:
            counted = first_words(parts.training, arguments.vocabulary_from)
        units = WordUnits.most_frequent(counted, arguments.vocabulary)
        units.save(folder)
        words = set(units.symbols)
    for name, sentences in (("train", parts.training), ("dev", parts.dev), ("test", parts.test)):
        if sentences:
            _write_part(folder / f"{name}.txt", sentences, words)
    n_repeated, n_long = repeated(
        [*parts.dev, *parts.test], parts.training, min_words=_MIN_REPEATED
    )
    print(
        f"{n_repeated:,} of {n_long:,} held-out sentences of {_MIN_REPEATED} words or more are in "
        "train.txt, too"
    )


def _write_part(path: Path, sentences: Sequence[str], words: set[str] | None) -> None:
    path.write_text("".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8")
    flags = [words is None or word in words for line in sentences for word in line.split()]
    other = f", {1 - sum(flags) / len(flags):.2%} unknown" if words is not None else ""
    print(f"{path}: {len(sentences):,} sentences, {len(flags):,} words{other}")


def generate(arguments: argparse.Namespace) -> None:
    """Print sentences drawn from a model."""
    if os.path.isdir(arguments.model):
        from lm import neural_commands

        neural_commands.generate(arguments)
        return
    with _progress() as progress:
        table = _table(arguments.model, progress)
    characters = table.word_id(SPACE) != 0
    prefix = split_characters(arguments.prefix) if characters else arguments.prefix.split()
    generator = np.random.default_rng(arguments.seed)
    for _ in range(arguments.sentences):
        words = sample_sentence(
            table,
            generator,
            prefix=prefix,
            max_words=arguments.max_words,
            temperature=arguments.temperature,
        )
        print(join_units(words, characters=characters))


def _table(path: str, progress: Progress) -> NgramTable:
    if file_kind(path) == "table":
        return NgramTable.load(path, verify=True)
    return NgramTable.from_model(_read_model(path, progress))
