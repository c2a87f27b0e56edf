"""What the tests share: the real data, where a folder with it is named by ASR_DATA."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several workers with all cores' threads each would slow one another down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says more of the machine than of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that uses `asr_data` as `real`, where it is not a recipe's."""
    for item in items:
        uses_data = "asr_data" in getattr(item, "fixturenames", ())
        if uses_data and item.get_closest_marker("recipe") is None:
            item.add_marker("real")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip `real` and `recipe` tests where there is no data."""
    marked = item.get_closest_marker("real") or item.get_closest_marker("recipe")
    if marked and not os.environ.get("ASR_DATA"):
        pytest.skip("ASR_DATA does not name a folder with the real data")


@pytest.fixture(scope="session")
def asr_data() -> Path:
    """The folder of real recordings and texts."""
    folder = os.environ.get("ASR_DATA")
    if not folder:
        pytest.skip("ASR_DATA does not name a folder with the real data")
    if not Path(folder).is_dir():
        pytest.fail(f"ASR_DATA={folder} is not a folder")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights: it writes short words of nonsense, fast.

    Its memory is short, so that a second of context is as good as a whole recording.
    """
    import torch

    from asr.config import parse_config
    from asr.models.recognizer import Recognizer
    from asr.text import CharTokenizer

    size = 16
    sizes = f"hidden_size = {size}\ninput_size = {size}\nn_layers = 2\nsubsampling_channels = 4\n"
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        config = parse_config(f"[model]\n{sizes}", source="tiny")
        recognizer = Recognizer(config, CharTokenizer())
        recognizer.network.output.weight.mul_(5)
        for layer in recognizer.network.stack.layers:
            for name, bias in layer.rnn.named_parameters():
                if name.startswith("bias_ih"):
                    bias[size : 2 * size] = -2  # the forget gate
    folder = tmp_path_factory.mktemp("tiny_model")
    recognizer.save(folder, {"wer": 1.0})
    return folder
