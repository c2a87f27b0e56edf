"""A short run of tools/soak_decode.py."""

from tools.soak_decode import soak


def test_random_utterances_are_decoded_as_by_the_readable_search() -> None:
    assert len(list(soak(100, seed=1))) == 20
