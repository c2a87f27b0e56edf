"""What the tests share: the real data, where a folder with it is named by ASR_DATA."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several workers with all cores' threads each would slow one another down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


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
