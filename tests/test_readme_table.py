"""Tables in a README: replaced between the marks, refused without them."""

from pathlib import Path

import pytest

from asr.errors import ConfigError
from asr.readme_table import write_table


def test_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- results -->\nold\n<!-- end of results -->\nz\n")
    for text in ("| new |", "| newer |"):
        write_table(readme, text)
        assert readme.read_text() == (f"a\n<!-- results -->\n{text}\n<!-- end of results -->\nz\n")


@pytest.mark.parametrize(
    "text", ["", "<!-- results -->", "<!-- end of results --><!-- results -->"]
)
def test_a_readme_without_marks_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ConfigError, match="has no lines"):
        write_table(readme, "new")
    assert readme.read_text() == text
    with pytest.raises(ConfigError, match="cannot be read"):
        write_table(tmp_path / "missing.md", "new")
