"""The n-gram table: equal to the definition and to KenLM, minimal, saved, quantised."""

import json
import time
from pathlib import Path
from typing import Any

import kenlm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from lm.arpa import read_arpa, write_arpa
from lm.array_file import MAGIC, read_arrays, write_arrays
from lm.automaton import arc_log_prob, compiled, find_arc, lookup
from lm.backoff import BackoffModel, Ngrams
from lm.table import NgramTable
from tests.lm_models import (
    GOLDEN,
    LN10,
    assert_same_model,
    backoff_log_prob,
    golden_lines,
    small_model,
    texts,
)


@pytest.fixture(scope="module")
def golden() -> NgramTable:
    return NgramTable.from_model(read_arpa(GOLDEN / "order-3.arpa.gz"))


@settings(max_examples=40)
@given(texts, st.integers(1, 4), st.lists(st.integers(0, 2), max_size=3).map(sorted), st.data())
def test_scores_equal_the_definition(
    sentences: list[list[str]], order: int, prune: list[int], data: st.DataObject
) -> None:
    model = small_model(sentences, order, prune[:order])
    table = NgramTable.from_model(model)
    words = data.draw(st.lists(st.sampled_from([*"ABCDE", "?"]), max_size=8))
    context = [1]
    state = table.start()
    expected = []
    for word in [*words, "</s>"]:
        expected.append(backoff_log_prob(model, context, table.word_id(word)))
        if word == "</s>":
            assert table.finish(state) == pytest.approx(expected[-1], abs=1e-5)
        log_prob, state = table.step(state, table.word_id(word))
        assert log_prob == pytest.approx(expected[-1], abs=1e-5)
        context.append(table.word_id(word))
    np.testing.assert_allclose(table.log_probs(words), expected, atol=1e-5)
    assert table.score(words) == pytest.approx(sum(expected), abs=1e-4)


@settings(max_examples=25)
@given(texts, st.integers(1, 4))
def test_a_table_keeps_the_whole_model(sentences: list[list[str]], order: int) -> None:
    model = small_model(sentences, order)
    table = NgramTable.from_model(model)
    assert_same_model(table.to_model(), model, 0.0)
    assert table.order == model.order
    assert table.n_ngrams == tuple(len(ngrams) for ngrams in model.orders)


def test_equal_to_kenlm(golden: NgramTable, tmp_path: Path) -> None:
    write_arpa(golden.to_model(), tmp_path / "model.arpa")
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    theirs = kenlm.Model(str(tmp_path / "model.arpa"), config)
    sentences = [*golden_lines(), ["UNHEARD", "OF"], ["MEN", "UNHEARD", "MEN"], []]
    for words, log_probs in zip(sentences, golden.score_sentences(sentences), strict=True):
        expected = [log10 for log10, _, _ in theirs.full_scores(" ".join(words))]
        np.testing.assert_allclose(log_probs / LN10, expected, rtol=0, atol=1e-5)


def test_states_are_the_contexts_that_matter(golden: NgramTable) -> None:
    """As many different states as KenLM has, and merged exactly where KenLM merges."""
    theirs = kenlm.Model(str(GOLDEN / "pruned.binary"))
    table = NgramTable.from_model(read_arpa(GOLDEN / "pruned.arpa.gz"))
    pairs = set()
    for words in golden_lines():
        state, other = table.start(), kenlm.State()
        theirs.BeginSentenceWrite(other)
        for word in words:
            _, state = table.step(state, table.word_id(word))
            following = kenlm.State()
            theirs.BaseScore(other, word, following)
            other = following
            pairs.add((state, other))
    assert len(pairs) == len({own for own, _ in pairs}) == len({other for _, other in pairs})
    assert len(pairs) > 100


def test_arrays_are_an_automaton(golden: NgramTable) -> None:
    arrays = golden.automaton
    n_states, n_arcs = len(arrays.backoff_states), len(arrays.arc_words)
    assert arrays.arc_starts[0] == 0
    assert arrays.arc_starts[-1] == n_arcs == sum(golden.n_ngrams)
    assert sum(golden.n_states) == n_states
    np.testing.assert_array_equal(arrays.arc_words[: golden.n_words], np.arange(golden.n_words))
    for state in range(n_states):
        words = arrays.arc_words[arrays.arc_starts[state] : arrays.arc_starts[state + 1]]
        assert (np.diff(words) > 0).all()
        assert golden.finish(state) == pytest.approx(golden.step(state, 2)[0], abs=1e-6)
    # Back-off leads to shorter contexts, so that walks end.
    assert (arrays.backoff_states[1:] < np.arange(1, n_states)).all()
    assert ((arrays.arc_states >= 0) & (arrays.arc_states < n_states)).all()


@compiled
def _log_prob_of_two(automaton, state: int, first: int, second: int) -> float:
    log_prob, state = lookup(automaton, state, first)
    arc = find_arc(automaton, state, second)
    return log_prob + (arc_log_prob(automaton, arc) if arc >= 0 else 0.0)


def test_lookup_serves_other_compiled_code(golden: NgramTable) -> None:
    first, second = golden_lines()[0][:2]
    ids = golden.word_id(first), golden.word_id(second)
    one, state = golden.step(golden.start(), ids[0])
    two, _ = golden.step(state, ids[1])
    found = _log_prob_of_two(golden.automaton, golden.start(), *ids)
    assert found == pytest.approx(one + two, abs=1e-6)


def test_words_and_ids(golden: NgramTable) -> None:
    assert golden.vocabulary[:3] == ("<unk>", "<s>", "</s>")
    assert [golden.word_id(word) for word in golden.vocabulary] == list(range(golden.n_words))
    assert golden.word_id("UNHEARD") == 0
    with pytest.raises(IndexError):
        golden.step(0, golden.n_words)
    with pytest.raises(IndexError):
        golden.step(-1, 0)


def test_no_sentences(golden: NgramTable) -> None:
    assert golden.score_sentences([]) == []
    assert golden.score([]) == pytest.approx(golden.finish(golden.start()))


def test_contexts_with_a_weight_but_no_longer_ngrams_are_states() -> None:
    # SRILM writes such models: backing off from B costs something wherever it leads.
    words = np.array([[0], [1], [2], [3], [4]], np.int32)
    first = Ngrams(words, np.full(5, -2.0, np.float32), np.array([0, 0, 0, 0, -0.5], np.float32))
    second = Ngrams(
        np.array([[3, 4]], np.int32), np.array([-1.0], np.float32), np.zeros(1, np.float32)
    )
    model = BackoffModel(("<unk>", "<s>", "</s>", "A", "B"), (first, second))
    table = NgramTable.from_model(model)
    np.testing.assert_allclose(table.log_probs(["A", "B", "A"]), [-2.0, -1.0, -2.5, -2.0])
    assert_same_model(table.to_model(), model, 0.0)


def test_bigrams_missing_below_trigrams_are_no_problem() -> None:
    """Entropy pruning may leave out `B C` and keep `A B C`."""
    words = np.arange(6, dtype=np.int32)[:, None]
    first = Ngrams(words, np.full(6, -2.0, np.float32), np.full(6, -0.5, np.float32))
    log_probs = np.full(2, -1.0, np.float32)
    second = Ngrams(np.array([[3, 4], [4, 3]], np.int32), log_probs, log_probs)
    third = Ngrams(np.array([[3, 4, 5]], np.int32), log_probs[:1], np.zeros(1, np.float32))
    model = BackoffModel(("<unk>", "<s>", "</s>", "A", "B", "C"), (first, second, third))
    table = NgramTable.from_model(model)
    np.testing.assert_allclose(table.log_probs(["A", "B", "C", "A"])[1:4], [-1.0, -1.0, -2.5])


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("bits", [32, 16, 8])
def test_saved_and_loaded(golden: NgramTable, bits: int, compress: bool, tmp_path: Path) -> None:
    table = golden if bits == 32 else golden.quantize(bits)[0]
    table.save(tmp_path / "model.ngram", compress=compress)
    for verify in (False, True):
        loaded = NgramTable.load(tmp_path / "model.ngram", verify=verify)
        assert loaded.vocabulary == golden.vocabulary
        assert (loaded.bits, loaded.n_states) == (bits, golden.n_states)
        for own, other in zip(loaded.automaton, table.automaton, strict=True):
            np.testing.assert_array_equal(own, other)
            assert own.dtype == other.dtype
    lines = golden_lines()[:50]
    for own, other in zip(loaded.score_sentences(lines), table.score_sentences(lines), strict=True):
        np.testing.assert_array_equal(own, other)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ngram"]


def test_compressed_is_much_smaller_and_damage_is_found(golden: NgramTable, tmp_path: Path) -> None:
    table = golden.quantize(8)[0]
    table.save(tmp_path / "raw.ngram")
    path = tmp_path / "small.ngram"
    table.save(path, compress=True)
    assert path.stat().st_size < 0.5 * (tmp_path / "raw.ngram").stat().st_size
    content = path.read_bytes()
    for place in range(len(content) // 2, len(content) - 100, 997):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        try:
            loaded = NgramTable.load(path)
        except LanguageModelError:
            continue
        # What lies between the arrays may change.
        for own, other in zip(loaded.automaton, table.automaton, strict=True):
            np.testing.assert_array_equal(own, other)
    path.write_bytes(content[: len(content) // 2] + bytes(64) + content[len(content) // 2 + 64 :])
    with pytest.raises(LanguageModelError, match=r"damaged n-gram table, the array .* is not as"):
        NgramTable.load(path)
    path.write_bytes(content[:-200])
    with pytest.raises(LanguageModelError, match="bytes are too few"):
        NgramTable.load(path)


@settings(max_examples=30)
@given(
    numbers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=40),
    codes=st.lists(st.integers(0, 65535), max_size=40),
)
def test_any_arrays_come_back(
    numbers: list[int], codes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "numbers": np.array(numbers, np.int32),
        "rising": np.sort(np.array(numbers, np.int32)),
        "codes": np.array(codes, np.uint16),
        "floats": np.array(codes, np.float32) / 7,
        "bytes": np.array(codes, np.uint16).view(np.uint8),
    }
    path = tmp_path_factory.mktemp("arrays") / "any.ngram"
    write_arrays(path, arrays, {"x": 1}, compress=True)
    found, fields = read_arrays(path, verify=True)
    assert fields == {"x": 1}
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_a_five_million_ngram_table_opens_in_an_instant(tmp_path: Path) -> None:
    arcs, states = 5_000_000, 1_000_000
    arrays = {
        "arc_starts": np.linspace(0, arcs, states + 1).astype(np.int32),
        "arc_words": np.zeros(arcs, np.int32),
        "arc_log_probs": np.zeros(arcs, np.float32),
        "codebook": np.zeros(0, np.float32),
        "arc_states": np.zeros(arcs, np.int32),
        "backoff_log_probs": np.zeros(states, np.float32),
        "backoff_states": np.zeros(states, np.int32),
        "final_log_probs": np.zeros(states, np.float32),
        "vocabulary": np.zeros(1_000_000, np.uint8),
    }
    write_arrays(tmp_path / "model.ngram", arrays, {"n_states": [1, 99_999, 900_000]})
    times = []
    for _ in range(5):
        start = time.perf_counter()
        table = NgramTable.load(tmp_path / "model.ngram")
        times.append(time.perf_counter() - start)
    assert len(table.automaton.arc_words) == arcs
    assert min(times) < 0.05


@pytest.mark.parametrize(("bits", "mean", "largest"), [(16, 1e-4, 1e-3), (8, 0.02, 0.1)])
def test_quantised(golden: NgramTable, bits: int, mean: float, largest: float) -> None:
    table, error = golden.quantize(bits)
    exact, rounded = golden.arc_log_probs(), table.arc_log_probs()
    assert error.largest == pytest.approx(float(np.abs(exact - rounded).max()))
    assert error.mean_absolute < mean
    assert error.largest < largest
    assert len(np.unique(rounded)) <= 1 << bits
    lines = golden_lines()
    for own, other in zip(table.score_sentences(lines), golden.score_sentences(lines), strict=True):
        np.testing.assert_allclose(own, other, atol=error.largest * 1.001 + 1e-6)
    with pytest.raises(LanguageModelError, match="32-bit table"):
        table.quantize(8)


def test_quantising_to_other_sizes_is_refused(golden: NgramTable) -> None:
    with pytest.raises(LanguageModelError, match="12 bits from 32"):
        golden.quantize(12)


def test_other_files_are_refused(tmp_path: Path, golden: NgramTable) -> None:
    path = tmp_path / "model.ngram"
    with pytest.raises(LanguageModelError, match=r"model\.ngram: cannot be read"):
        NgramTable.load(path)
    for content in (b"", b"\\data\\\n" * 100):
        path.write_bytes(content)
        with pytest.raises(LanguageModelError, match=r"model\.ngram: no n-gram table"):
            NgramTable.load(path)
    golden.save(path)
    content = path.read_bytes()
    path.write_bytes(content[:8] + b"\x03" + content[9:])
    with pytest.raises(LanguageModelError, match=r"table format 3, this program reads 1 and 2"):
        NgramTable.load(path)
    path.write_bytes(MAGIC)
    with pytest.raises(LanguageModelError, match="its head is cut off"):
        NgramTable.load(path)
    path.write_bytes(content[:-200])
    with pytest.raises(LanguageModelError, match="bytes are too few"):
        NgramTable.load(path)
    path.write_bytes(content.replace(b'"n_states"', b'"m_states"'))
    with pytest.raises(LanguageModelError, match="its head is not as written"):
        NgramTable.load(path)


@settings(max_examples=60)
@given(data=st.data())
def test_random_damage_is_found(data: st.DataObject, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("damage") / "model.ngram"
    NgramTable.from_model(small_model([["A", "B"], ["B"]], 2)).save(path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    arrays: dict[str, object] = {}
    try:
        arrays, _ = read_arrays(path, verify=True)
    except LanguageModelError as error:
        message = str(error)
    else:
        # Only the gaps between arrays may change unseen.
        message = "unseen"
        head = json.loads(bytes(content[20:]).split(b"]}")[0] + b"]}")
        base = -(-(20 + len(json.dumps(head, ensure_ascii=False))) // 64) * 64
        for entry in head["arrays"]:
            size = arrays[entry["name"]].nbytes  # type: ignore[attr-defined]
            assert not base + entry["offset"] <= at < base + entry["offset"] + size
    assert len(message.splitlines()) == 1


def test_equal_to_kenlm_on_real_text(asr_data: Path, tmp_path: Path) -> None:
    lines = (asr_data / "text" / "tinyshakespeare.txt").read_text().splitlines()
    sentences = [line.upper().split() for line in lines]
    write_arpa(small_model(sentences[:20000], 4, (0, 0, 1)), tmp_path / "model.arpa")
    table = NgramTable.from_model(read_arpa(tmp_path / "model.arpa"))
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    theirs = kenlm.Model(str(tmp_path / "model.arpa"), config)
    held_out = sentences[20000:]
    assert sum(table.word_id(word) == 0 for words in held_out for word in words) > 1000
    for words, log_probs in zip(held_out, table.score_sentences(held_out), strict=True):
        score = float(log_probs.sum(dtype=np.float64)) / LN10
        assert score == pytest.approx(theirs.score(" ".join(words)), abs=1e-4)
