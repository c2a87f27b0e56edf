"""ARPA files: round trips, errors with line numbers, and random damage."""

import gzip
import lzma
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import LanguageModelError
from lm.arpa import read_arpa, write_arpa
from lm.backoff import BackoffModel, Ngrams
from lm.table import NgramTable
from tests.lm_models import CASES, GOLDEN, LN10, assert_same_model, small_model

VALID = b"""\
made by hand

\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.5\t<unk>
-99\t<s>\t-0.3
-0.5\t</s>
-0.6\tA\t-0.25
-0.7\tB\t0.1

\\2-grams:
-0.2\t<s> A\t-0.4
-0.3\tA B\t-0.5
-0.9\tB </s>

\\3-grams:
-0.1\t<s> A B

\\end\\
"""


def _read(folder: Path, content: bytes) -> BackoffModel:
    path = folder / "model.arpa"
    path.write_bytes(content)
    return read_arpa(path)


def test_read_by_hand(tmp_path: Path) -> None:
    model = _read(tmp_path, VALID)
    assert model.vocabulary == ("<unk>", "<s>", "</s>", "A", "B")
    assert [order.words.tolist() for order in model.orders] == [
        [[0], [1], [2], [3], [4]],
        [[1, 3], [3, 4], [4, 2]],
        [[1, 3, 4]],
    ]
    for n, (log_probs, backoffs) in enumerate(
        [
            ([-1.5, -99, -0.5, -0.6, -0.7], [0, -0.3, 0, -0.25, 0.1]),
            ([-0.2, -0.3, -0.9], [-0.4, -0.5, 0]),
            ([-0.1], [0]),
        ]
    ):
        np.testing.assert_allclose(model.orders[n].log_probs / LN10, log_probs, rtol=1e-6)
        np.testing.assert_allclose(model.orders[n].log_backoffs / LN10, backoffs, rtol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        (b"\n", b"\r\n"),
        (b"\t", b" "),
        (b" A", b"  A"),
        (b"\\2-grams:\n", b"\\2-grams:\n\n"),
        (b"-0.3\tA B", b"\n-0.3\tA B"),
        (b"\\end\\\n", b"\\end\\"),
        (b"\\end\\\n", b"\\end\\\n\n \n"),
        (b"-1.5\t<unk>", b"-1.5\t<UNK>"),
        (b"ngram 3=1", b"ngram 3=1\nngram 4=0"),
        (b"\\end\\", b"\\4-grams:\n\n\\end\\"),
    ],
    ids=repr,
)
def test_harmless_differences(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    content = VALID.replace(*change)
    if b"ngram 4=0" in content:
        content = content.replace(b"\\end\\", b"\\4-grams:\n\n\\end\\")
    elif b"\\4-grams:" in content:
        content = content.replace(b"ngram 3=1", b"ngram 3=1\nngram 4=0")
    assert_same_model(_read(tmp_path, content), _read(tmp_path, VALID), 0.0)


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz", "model.arpa.xz"])
def test_round_trip(name: str, tmp_path: Path) -> None:
    model = read_arpa(GOLDEN / "pruned.arpa.gz")
    told: list[tuple[str, int, int]] = []
    write_arpa(model, tmp_path / name, on_progress=lambda *step: told.append(step))
    assert told[-1][1] == told[-1][2] == sum(map(len, model.orders))
    head = (tmp_path / name).read_bytes()[:2]
    assert head == {"arpa": b"\\d", "gz": b"\x1f\x8b", "xz": b"\xfd7"}[name.split(".")[-1]]
    assert_same_model(read_arpa(tmp_path / name), model, 1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_numbers_of_all_sizes(tmp_path: Path) -> None:
    values = np.array([0.0, -1e-9, -0.1234567, -9.9999999, -10.0, -99.0, -123.5], np.float32)
    backoffs = np.array([0.0, 1.25, -1e-7, 12.0, -12.0, 0.5, 0.0], np.float32)
    words = np.arange(7, dtype=np.int32)[:, None]
    first = Ngrams(words, values * np.float32(LN10), backoffs * np.float32(LN10))
    second = Ngrams(np.array([[3, 4]], np.int32), first.log_probs[:1], first.log_probs[:1])
    model = BackoffModel(("<unk>", "<s>", "</s>", "A", "B", "C", "D"), (first, second))
    write_arpa(model, tmp_path / "model.arpa")
    lines = (tmp_path / "model.arpa").read_text().splitlines()
    assert lines[5:8] == ["0\t<unk>\t0", "0\t<s>\t1.250000", "-0.123457\t</s>\t0"]
    assert_same_model(read_arpa(tmp_path / "model.arpa"), model, 1e-5)


def test_missing_unknown_word_scores_as_in_kenlm(tmp_path: Path) -> None:
    content = VALID.replace(b"-1.5\t<unk>\n", b"").replace(b"ngram 1=5", b"ngram 1=4")
    model = _read(tmp_path, content)
    assert model.vocabulary[0] == "<unk>"
    log_prob, _ = NgramTable.from_model(model).step(0, 0)
    assert log_prob / LN10 == pytest.approx(-100, abs=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"\\data\\", b"\\date\\", "model.arpa: no ARPA file"),
        (b"ngram 2=3", b"ngram 3=3", "line 5: 'ngram 3=3' where 'ngram 2='"),
        (b"ngram 2=3", b"ngram 2=4", "line 19: 3 2-grams end here, the head says 4"),
        (b"ngram 2=3", b"ngram 2=99999999999999999999", "line 5: "),
        (b"ngram 2=3", b"ngram 2=0", "an order without n-grams"),
        (b"\\2-grams:", b"\\4-grams:", r"line 15: '\4-grams:' where \2-grams: is needed"),
        (b"\\3-grams:", b"\\end\\", r"where \3-grams: is needed"),
        (b"-0.3\tA B", b"x\tA B", "line 17: 'x' is no decimal number"),
        (b"-0.3\tA B", b"nan\tA B", "line 17: 'nan' is no decimal number"),
        (b"-0.3\tA B", b"-inf\tA B", "line 17: '-inf' is no decimal number"),
        (b"-0.3\tA B", b"0.3\tA B", "line 17: the log10 probability '0.3' is above 0"),
        (b"-0.3\tA B\t-0.5", b"-0.3\tA B\t-1e99", "line 17: '-1e99' is out of range"),
        (b"-0.3\tA B", b"-0.3\tA C", "line 17: the word 'C' has no unigram"),
        (b"-0.3\tA B", b"-0.3\tA B C D", "line 17: 6 fields"),
        (b"-0.3\tA B\t-0.5", b"-0.3\tA", "line 17: 2 fields"),
        (b"-0.7\tB", b"-0.7\tA", "line 13: the word 'A' has a second unigram"),
        (b"-0.7\tB", b"-0.7\t\xff", "line 13: the word '\ufffd' is not UTF-8"),
        (b"-0.1\t<s> A B", b"-0.1\t<s> A B\t-0.1", "line 21: a back-off weight at the highest"),
        (b"<s>", b"S", "no <s>"),
        (b"\\end\\\n", b"", "line 22: the file ends here, before \\end\\"),
        (b"\\end\\\n", b"\\end\\\nmore\n", "line 24: 'more' after \\end\\"),
        (b"-0.2\t<s> A\t-0.4\n", b"-0.2\t</s> A\t-0.4\n", "'<s> A B' is there without its context"),
        (b"-0.9\tB </s>", b"-0.9\tA B", "the 2-gram 'A B' is there twice"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    assert old in VALID
    with pytest.raises(LanguageModelError) as caught:
        NgramTable.from_model(_read(tmp_path, VALID.replace(old, new)))
    text = str(caught.value)
    assert "\n" not in text
    assert message in text.replace("\\\\", "\\")


def test_errors_in_files_with_blank_lines_keep_their_line(tmp_path: Path) -> None:
    content = VALID.replace(b"-0.3\tA B", b"\n\n-0.3\tA C")
    with pytest.raises(LanguageModelError, match="line 19: the word 'C' has no unigram"):
        _read(tmp_path, content)


@pytest.mark.parametrize("content", [b"", b"\n", b"\x00" * 4096, b"rubbish\n" * 4096])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(LanguageModelError, match=r"model\.arpa: no ARPA file"):
        _read(tmp_path, content)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_damaged_compression_is_refused(tmp_path: Path, pack) -> None:
    content = pack(gzip.decompress((GOLDEN / "pruned.arpa.gz").read_bytes()))
    for damaged in (content[:-20], content[:2000] + b"\x00" * 50 + content[2050:]):
        with pytest.raises(LanguageModelError, match="damaged compressed file"):
            _read(tmp_path, damaged)


def test_unwritable_place(tmp_path: Path) -> None:
    model = small_model([["A"]], 1)
    with pytest.raises(LanguageModelError, match="cannot be written"):
        write_arpa(model, tmp_path / "nowhere" / "model.arpa")


_damage = st.tuples(
    st.integers(0, len(VALID)),
    st.integers(0, 12),
    st.binary(max_size=6)
    | st.sampled_from(
        [b"\n", b"\t", b" ", b"-", b"\\", b"1", b"nan", b"<s>", b"A", b"\n\n", b"\\end\\\n"]
    ),
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_damage, min_size=1, max_size=3))
def test_random_damage_gives_an_error_or_a_model(
    tmp_path: Path, damage: list[tuple[int, int, bytes]]
) -> None:
    content = VALID
    for place, length, new in damage:
        content = content[:place] + new + content[place + length :]
    try:
        table = NgramTable.from_model(_read(tmp_path, content))
    except LanguageModelError as error:
        problem = str(error)
    else:
        problem = "none"
        assert np.isfinite(table.log_probs(["A", "B", "?"])).all()
    assert len(problem.splitlines()) == 1


@pytest.mark.parametrize("name", CASES)
def test_kenlms_files_keep_their_sizes(name: str) -> None:
    text = gzip.decompress((GOLDEN / f"{name}.arpa.gz").read_bytes()).decode()
    sizes = [int(found) for found in re.findall(r"^ngram \d=(\d+)$", text, re.MULTILINE)]
    assert [len(order) for order in read_arpa(GOLDEN / f"{name}.arpa.gz").orders] == sizes


def test_the_shared_model_is_read_whole(asr_data: Path) -> None:
    model = read_arpa(asr_data / "text" / "lm" / "3gram-gutenberg-189m.arpa.xz")
    assert [len(order) for order in model.orders] == [120003, 2153982, 1869663]
    assert model.vocabulary[3:6] == ("BY", "ABRAHAM", "LINCOLN")
    last = model.orders[2]
    assert model.text(last.words[-1]) == "OF ELLEN JORTH"
    assert last.log_probs[-1] / LN10 == pytest.approx(-0.9526, abs=1e-5)
