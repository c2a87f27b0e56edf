"""Result tables in a README that a command writes, so that no figure is typed by hand."""

from pathlib import Path

from asr.errors import ConfigError

__all__ = ["MARKS", "write_table"]

MARKS = ("<!-- results -->", "<!-- end of results -->")


def write_table(readme: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    """Replace what stands between the marks of a README.

    Args:
        readme: a file with both marks, each in a line of its own.
        text: Markdown.
        marks: where the text begins and where it ends.

    Raises:
        ConfigError: the file cannot be read or has no marks.
    """
    try:
        content = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{readme}: cannot be read ({error.strerror})") from None
    before, start, rest = content.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (start and end):
        raise ConfigError(f"{readme}: has no lines {marks[0]} and {marks[1]} to write between")
    readme.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")
