"""KenLM's `lmplz` as the engine for texts that are too large for memory."""

import logging
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from asr.errors import DependencyError, LanguageModelError
from lm.compressed import PathName, write_compressed
from lm.corpus import Progress, Split, read_blocks
from lm.kneser_ney import Smoothing

__all__ = ["find_lmplz", "train_with_lmplz"]

logger = logging.getLogger(__name__)


def find_lmplz() -> str:
    """The path of `lmplz`.

    Raises:
        DependencyError: it is not on PATH
    """
    program = shutil.which("lmplz")
    if program is None:
        raise DependencyError(
            "lmplz is not on PATH; build it with tools/build_lmplz.sh, or estimate with numpy"
        )
    return program


def train_with_lmplz(
    paths: Iterable[PathName],
    arpa: PathName,
    order: int,
    smoothing: Smoothing,
    *,
    vocabulary: Iterable[str] | None = None,
    split: Split | None = None,
    skip_symbols: bool = False,
    memory: str = "50%",
    on_progress: Progress | None = None,
) -> None:
    """Estimate a model with `lmplz`; the arguments mean what they mean in `estimate`.

    Args:
        paths: text files, one sentence a line
        arpa: the file to write, compressed where its name ends in .gz or .xz
        order: length of the longest n-grams
        smoothing: pruning and discounts
        vocabulary: n-grams with any other word are left out
        split: makes the units of a line; words by default
        skip_symbols: leave <s>, </s> and <unk> in the text out
        memory: what `lmplz` may take, such as 8G or 50%
        on_progress: told the bytes read

    Raises:
        DependencyError: `lmplz` is not installed
        LanguageModelError: it fails; its own reason is given
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [find_lmplz(), "-o", str(order), "-S", memory, "-T", f"{folder}/"]
        command += ["--prune", *map(str, smoothing.thresholds(order))]
        command += ["--interpolate_unigrams", str(int(smoothing.interpolate_unigrams))]
        if smoothing.discount_fallback is not None:
            command += ["--discount_fallback", *map(str, smoothing.discount_fallback)]
        if skip_symbols:
            command.append("--skip_symbols")
        if vocabulary is not None:
            words = Path(folder, "vocabulary")
            words.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
            command += ["--limit_vocab_file", str(words)]
        blocks = (block for block, _ in read_blocks(paths, split=split, on_progress=on_progress))
        with write_compressed(arpa) as output, Path(folder, "log").open("w+b") as log:
            _run(command, blocks, output, log)


def _run(command: list[str], blocks: Iterable[bytes], output: IO[bytes], log: IO[bytes]) -> None:
    problems: list[BaseException] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        text = process.stdin

        def feed() -> None:
            try:
                # Where lmplz ends early the pipe breaks; its log says why.
                with suppress(BrokenPipeError), text:
                    for block in blocks:
                        text.write(block)
            except BaseException as problem:
                problems.append(problem)
                process.kill()

        feeder = threading.Thread(target=feed)
        feeder.start()
        shutil.copyfileobj(process.stdout, output)
        feeder.join()
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    for line in lines:
        logger.debug("lmplz: %s", line)
    if problems:
        raise problems[0]
    if process.returncode != 0:
        raise LanguageModelError(f"lmplz failed (exit code {process.returncode}): {_reason(lines)}")


def _reason(lines: list[str]) -> str:
    """The line in which KenLM says what went wrong, after the one with the source file."""
    for index, line in enumerate(lines):
        if " threw " in line:
            return " ".join(lines[index + 1 : index + 2]) or line
    said = [line for line in lines if line.strip()]
    return said[-1] if said else "it said nothing"
