"""Opening models of every kind: the table and KenLM's binary behind one protocol."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asr.errors import DependencyError, LanguageModelError
from lm.arpa import read_arpa
from lm.kenlm_model import KenlmModel
from lm.language_model import LanguageModel, file_kind, load_language_model
from lm.table import NgramTable
from tests.lm_models import GOLDEN, golden_lines


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[LanguageModel]:
    folder = tmp_path_factory.mktemp("models")
    NgramTable.from_model(read_arpa(GOLDEN / "pruned.arpa.gz")).save(folder / "table")
    paths = [GOLDEN / "pruned.arpa.gz", folder / "table", GOLDEN / "pruned.binary"]
    assert [file_kind(path) for path in paths] == ["arpa", "table", "kenlm"]
    return [load_language_model(path) for path in paths]


def test_all_kinds_score_the_same(models: list[LanguageModel]) -> None:
    assert [type(model) for model in models] == [NgramTable, NgramTable, KenlmModel]
    assert [model.order for model in models] == [3, 3, 3]
    for words in [*golden_lines()[:60], ["UNHEARD", "OF"], []]:
        expected = models[0].log_probs(words)
        for model in models[1:]:
            np.testing.assert_allclose(model.log_probs(words), expected, atol=1e-4)
            assert model.score(words) == pytest.approx(float(expected.sum()), abs=1e-3)


def test_steps_add_up_to_the_score(models: list[LanguageModel]) -> None:
    for model in models:
        for words in [*golden_lines()[:20], ["UNHEARD", "OF"], []]:
            state, total = model.start(), 0.0
            for word in words:
                log_prob, state = model.step(state, model.word_id(word))
                total += log_prob
            assert total + model.finish(state) == pytest.approx(model.score(words), abs=1e-4)


def test_states_can_be_shared(models: list[LanguageModel]) -> None:
    words = golden_lines()[0]
    for model in models:
        seen = {model.start()}
        for _ in range(2):
            state = model.start()
            for word in words:
                _, state = model.step(state, model.word_id(word))
                seen.add(state)
        assert len(seen) <= len(words) + 1
        assert model.word_id("UNHEARD") == 0


def test_damaged_binaries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.binary"
    path.write_bytes((GOLDEN / "pruned.binary").read_bytes()[:60])
    with pytest.raises(LanguageModelError, match=r"model\.binary: no KenLM model \(") as caught:
        load_language_model(path)
    assert len(str(caught.value).splitlines()) == 1


def test_without_the_package_kenlm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(DependencyError, match="pip install kenlm"):
        load_language_model(GOLDEN / "pruned.binary")


def test_opening_a_model_imports_no_torch() -> None:
    program = (
        "import sys; from lm.language_model import load_language_model;"
        f"load_language_model({str(GOLDEN / 'pruned.arpa.gz')!r}); "
        "sys.exit('torch' in sys.modules or 'kenlm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
