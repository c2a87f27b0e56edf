"""Texts with labels: the sets this recipe knows, any CSV file, and their parts."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cleaning import clean, fold
from sentiment_config import CsvConfig

from asr.errors import ConfigError, DependencyError, TextError

__all__ = [
    "SETS",
    "Example",
    "Parts",
    "apart",
    "read_csv",
    "read_part",
    "read_set",
    "same_text",
    "sample_positions",
    "split",
    "stratified",
    "write_part",
]

SAMPLE, SEED = 0.8, 42
DEV = 0.1


@dataclass(frozen=True)
class Example:
    """A text and what somebody says it is."""

    text: str
    label: str


@dataclass(frozen=True)
class Parts:
    """To train on, to choose by, and to measure on."""

    train: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]


def sample_positions(n: int, fraction: float, seed: int) -> list[int]:
    """Return the rows that pandas' `DataFrame.sample(frac=fraction, random_state=seed)` takes.

    Args:
        n: rows of the table.
        fraction: 0 to 1.
        seed: of numpy's old generator, whose numbers never change.
    """
    taken = np.random.RandomState(seed).choice(n, round(fraction * n), replace=False)
    positions: list[int] = taken.tolist()
    return positions


def split(examples: Sequence[Example], fraction: float) -> tuple[list[Example], list[Example]]:
    """Return a sample with seed 42, and the others in their order."""
    taken = sample_positions(len(examples), fraction, SEED)
    chosen = set(taken)
    rest = [example for row, example in enumerate(examples) if row not in chosen]
    return [examples[row] for row in taken], rest


def same_text(text: str) -> str:
    """Return what two texts have in common where they differ in spelling, links or users."""
    return fold(clean(text, link="", user=""))


def apart(parts: Parts) -> Parts:
    """Leave out of each part the texts that a later part has, too."""
    test = {same_text(example.text) for example in parts.test}
    dev = [example for example in parts.dev if same_text(example.text) not in test]
    later = test | {same_text(example.text) for example in dev}
    train = [example for example in parts.train if same_text(example.text) not in later]
    return Parts(train, dev, parts.test)


def read_csv(path: Path, text: str, label: str) -> list[Example]:
    """Read a CSV file with a header.

    Raises:
        TextError: it cannot be read, a column is missing, or a row has no label.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            for column in (text, label):
                if column not in columns:
                    raise TextError(
                        f"{path}: no column {column!r}, it has {', '.join(map(repr, columns))}; "
                        "name the columns by csv.text and csv.label"
                    )
            examples = []
            for row in reader:
                if not row[label] or row[text] is None:
                    raise TextError(f"{path}, line {reader.line_num}: no label; each row needs one")
                examples.append(Example(row[text], row[label]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TextError(f"{path}: cannot be read as CSV in UTF-8 ({error})") from None
    return examples


def _read_lines(path: Path) -> list[str]:
    """Read the lines of a text file in UTF-8 or, as rt-polarity is at its source, in cp1252."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    return text.removesuffix("\n").split("\n")


def _arsarcasm(data: Path) -> Parts:
    """ArSarcasm-v2 with its own test set."""
    folder = data / "arsarcasm-v2"
    training = read_csv(folder / "training_data.csv", "tweet", "sentiment")
    dev, train = split(training, DEV)
    return Parts(train, dev, read_csv(folder / "testing_data.csv", "tweet", "sentiment"))


def _astd(data: Path) -> Parts:
    """ASTD in four classes, with the unbalanced parts of its authors, which number its lines."""
    folder = data / "astd"
    path = folder / "Tweets.txt"
    examples = []
    for number, line in enumerate(_read_lines(path), 1):
        text, tab, label = line.rstrip("\r").rpartition("\t")
        if not tab:
            raise TextError(f"{path}, line {number}: a text, a tab and a label are needed")
        examples.append(Example(text, label))
    parts = []
    for name in ("train", "validation", "test"):
        listed = folder / f"4class-unbalanced-{name}.txt"
        try:
            parts.append([examples[int(row)] for row in _read_lines(listed)])
        except (ValueError, IndexError):
            raise TextError(
                f"{listed}: line numbers of {path} from 0 to {len(examples) - 1} are needed"
            ) from None
    return Parts(*parts)


def _ajgt(data: Path) -> Parts:
    """AJGT, which has no parts of its own."""
    path = data / "ajgt" / "AJGT.xlsx"
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise DependencyError("the set ajgt needs openpyxl: pip install openpyxl") from None
    try:
        book = load_workbook(path, read_only=True)
        rows = list(book.worksheets[0].iter_rows(min_row=2, max_col=3, values_only=True))
        book.close()
    except Exception as error:  # a damaged file fails in as many ways as zip and XML have
        raise TextError(f"{path}: cannot be read as a workbook ({error})") from None
    return stratified([Example(str(text), str(label)) for _, text, label in rows if text])


def _rt_polarity(data: Path) -> Parts:
    """Pang and Lee's film reviews, which have no parts of their own."""
    folder = data / "rt-polarity"
    return stratified(
        [
            Example(line, label)
            for label, ending in (("negative", "neg"), ("positive", "pos"))
            for line in _read_lines(folder / f"rt-polarity.{ending}")
        ]
    )


def _sampled(examples: Sequence[Example]) -> Parts:
    """Make parts as ASAD's users do: a sample of all rows to train on, the others the test."""
    training, test = split(examples, SAMPLE)
    dev, train = split(training, DEV)
    return Parts(train, dev, test)


def stratified(examples: Sequence[Example]) -> Parts:
    """Make parts that each have the labels as often as the whole has them."""
    parts = Parts([], [], [])
    for label in sorted({example.label for example in examples}):
        some = _sampled([example for example in examples if example.label == label])
        parts = Parts(
            [*parts.train, *some.train], [*parts.dev, *some.dev], [*parts.test, *some.test]
        )
    return parts


SETS: dict[str, Callable[[Path], Parts]] = {
    "arsarcasm": _arsarcasm,
    "astd": _astd,
    "ajgt": _ajgt,
    "rt-polarity": _rt_polarity,
}


def read_set(name: str, data: Path, config: CsvConfig) -> Parts:
    """Read a set by its name, or the CSV file as the set `csv`.

    Raises:
        ConfigError: there is no such set, or no CSV file is named.
        TextError: it cannot be read.
        DependencyError: what reads its format is not installed.
    """
    if name == "csv":
        if not config.file:
            raise ConfigError("the set csv needs a file: give --csv FILE or csv.file")
        return apart(_sampled(read_csv(Path(config.file), config.text, config.label)))
    if name not in SETS:
        raise ConfigError(f"runs: no set {name!r}; there are {', '.join([*SETS, 'csv'])}")
    return apart(SETS[name](data))


def write_part(path: Path, examples: Sequence[Example]) -> None:
    """Write texts and labels as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows((example.text, example.label) for example in examples)


def read_part(path: Path) -> list[Example]:
    """Read what `write_part` wrote."""
    return read_csv(path, "text", "label")
