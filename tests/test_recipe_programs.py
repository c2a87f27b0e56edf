"""What recipes' programs share: the time that trainings took, added up."""

import json
import time
from pathlib import Path

import pytest

from asr.errors import ConfigError
from asr.recipe_programs import timed, training_facts


def test_times_of_interrupted_trainings_add_up(tmp_path: Path) -> None:
    with timed(tmp_path / "missing"):
        pass
    assert not (tmp_path / "missing").exists()

    exp = tmp_path / "exp"
    with pytest.raises(ConfigError, match="train the model first"):
        training_facts(exp)
    exp.mkdir()
    (exp / "seconds").write_text("100 50\n")

    def interrupted() -> None:
        with timed(exp):
            time.sleep(0.6)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (exp / "seconds").read_text() == "101 50\n"
    lines = [{"kind": "dev", "epoch": 1.0, "perplexity": 9.0}, {"kind": "train", "epoch": 1.5}]
    (exp / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert training_facts(exp) == {
        "epochs": 1.0,
        "perplexity": 9.0,
        "training_seconds": 101,
        "training_cpu_seconds": 50,
    }
