"""Files that may be compressed: plain, gzip or xz, told apart by their first bytes."""

import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from asr.errors import AsrError, LanguageModelError

__all__ = ["ByteReader", "PathName", "replacing", "write_compressed"]

PathName = str | os.PathLike[str]

_MAGIC_GZIP = b"\x1f\x8b"
_MAGIC_XZ = b"\xfd7zXZ\x00"
# What gzip and lzma raise on damaged data, each in its own way.
_DAMAGE = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)


class ByteReader:
    """The decompressed bytes of a file, or of standard input for "-"; a context manager.

    Args:
        path: plain, gzip or xz file, whatever its name
        error: the exception to raise when the file cannot be read

    Raises:
        AsrError: the class `error`, here and inside the `with` block, naming the file
    """

    def __init__(self, path: PathName, error: type[AsrError] = LanguageModelError) -> None:
        self._standard_input = os.fspath(path) == "-"
        self.name = "standard input" if self._standard_input else os.fspath(path)
        self._error = error
        try:
            if self._standard_input:
                self._raw = cast(io.BufferedReader, sys.stdin.buffer)
            else:
                self._raw = Path(path).open("rb")  # noqa: SIM115 - __exit__ closes it
            self.size = 0 if self._standard_input else os.fstat(self._raw.fileno()).st_size
            self.stream = self._decompressed()
        except OSError as problem:
            raise error(f"{self.name}: cannot be read ({problem.strerror})") from None

    def _decompressed(self) -> io.BufferedReader:
        head = self._raw.peek(len(_MAGIC_XZ))
        if head.startswith(_MAGIC_GZIP):
            return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=self._raw)), 1 << 20)
        if head.startswith(_MAGIC_XZ):
            return io.BufferedReader(cast(io.RawIOBase, lzma.LZMAFile(self._raw)), 1 << 20)
        return self._raw

    def blocks(self, n_bytes: int = 1 << 22) -> Iterator[bytes]:
        """Blocks of whole lines, each of about `n_bytes`; the last may lack its line feed."""
        while block := self.stream.read(n_bytes) + self.stream.readline():
            yield block

    def position(self) -> int:
        """Bytes of the (compressed) file read so far."""
        return 0 if self._standard_input else self._raw.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._standard_input:
            self._raw.close()
        if isinstance(problem, _DAMAGE):
            raise self._error(
                f"{self.name}: damaged compressed file ({problem}); copy it anew"
            ) from None
        if isinstance(problem, OSError) and problem.filename is None:
            raise self._error(f"{self.name}: cannot be read ({problem.strerror})") from None


@contextmanager
def replacing(path: PathName) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends without error.

    Raises:
        LanguageModelError: the folder is missing or cannot be written to
    """
    target = Path(path)
    writing = target.with_name(f".{target.name}.{os.getpid()}.writing")
    try:
        yield writing
        with writing.open("rb") as file:
            os.fsync(file.fileno())
        writing.replace(target)
    except OSError as problem:
        raise LanguageModelError(f"{target}: cannot be written ({problem.strerror})") from None
    finally:
        writing.unlink(missing_ok=True)


@contextmanager
def write_compressed(path: PathName) -> Iterator[IO[bytes]]:
    """A binary file to write, compressed as the name's end (.gz, .xz) says, put in place whole.

    Raises:
        LanguageModelError: the file cannot be written
    """
    suffix = Path(path).suffix
    with replacing(path) as writing:
        if suffix == ".gz":
            # Without name and time in its head the same model gives the same file.
            with writing.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
                yield cast(IO[bytes], file)
        elif suffix == ".xz":
            with lzma.open(writing, "wb", preset=2) as packed:
                yield packed
        else:
            with writing.open("wb") as plain:
                yield plain
