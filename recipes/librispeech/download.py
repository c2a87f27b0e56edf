"""Fetch subsets of LibriSpeech: resumable, checked, extracted whole or not at all.

    python recipes/librispeech/download.py FOLDER train-clean-100 dev-clean test-clean

makes FOLDER/train-clean-100 and so on.  A transfer that was cut goes on where it
was, also in a later run (NAME.tar.gz.part); a subset whose folder is there is left alone.

Reference: Panayotov et al. 2015, LibriSpeech; the checksums are those that
torchaudio.datasets.LIBRISPEECH checks.
"""

import argparse
import errno
import hashlib
import http.client
import os
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from asr.errors import AsrError

__all__ = ["Source", "fetch", "fetch_file", "main"]

BASE_URL = "https://www.openslr.org/resources/12"
LANGUAGE_MODEL_URL = "https://www.openslr.org/resources/11"
TIMEOUT_SECONDS = 60
ATTEMPTS = 6
"""Transfers in a row that may bring nothing before we give up."""
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """Where archives come from.

    Args:
        base_url: the folder of the archives.
        checksums_file: lines of `sha256sum`; without it those of torchaudio count.
    """

    base_url: str
    checksums_file: Path | None = None

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 in hexadecimal digits by archive name."""
        if self.checksums_file:
            return _read_checksums(self.checksums_file)
        # Here, because where all is there none is needed, and torch takes a while to import.
        from asr.torchaudio_safe import torchaudio

        checksums = torchaudio.datasets.librispeech._CHECKSUMS
        return {url.rsplit("/", 1)[1]: checksum for url, checksum in checksums.items()}


class TransferError(Exception):
    """A transfer that ended early; what has arrived is kept."""


def fetch(subset: str, folder: Path, source: Source, *, keep_archive: bool = False) -> Path:
    """Make FOLDER/SUBSET.

    Args:
        subset: such as "train-clean-100".
        folder: receives the subset, and the archive for a while.
        source: where the archive comes from.
        keep_archive: leave the archive there after it was extracted.

    Returns:
        The subset's folder, which is there only when all of it is.

    Raises:
        AsrError: an unknown subset, a transfer that does not succeed, a damaged archive.
    """
    target = folder / subset
    if target.is_dir():
        print(f"{target}: is there")
        return target
    name = f"{subset}.tar.gz"
    if name not in source.checksums:
        raise AsrError(
            f"{subset}: no checksum is known for {name}; the subsets are "
            f"{', '.join(n.removesuffix('.tar.gz') for n in source.checksums)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / name
    if not archive.exists():
        _download(f"{source.base_url.rstrip('/')}/{name}", archive, source.checksums[name])
    elif _sha256(archive) != source.checksums[name]:
        raise AsrError(f"{archive}: has another checksum than {name}; delete it and start again")
    _extract(archive, subset, folder)
    if not keep_archive:
        archive.unlink()
    print(f"{target}: extracted")
    return target


def _download(url: str, archive: Path, checksum: str) -> None:
    """Download until the checksum is right; a wrong one is given one more try from nothing."""
    part = archive.with_name(archive.name + ".part")
    for n_tries_left in (1, 0):
        _complete(url, part)
        got = _sha256(part)
        if got == checksum:
            part.replace(archive)
            return
        part.unlink()
        if not n_tries_left:
            raise AsrError(
                f"{url}: arrived twice with a wrong checksum (SHA-256 {got[:12]}..., needed "
                f"{checksum[:12]}...); try another mirror with --base-url"
            )
        print(f"{url}: arrived with a wrong checksum; trying once more", file=sys.stderr)


def fetch_file(url: str, path: Path) -> None:
    """Download a file that has no official checksum; one that is there is left alone."""
    if path.exists():
        print(f"{path}: is there")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    _complete(url, part)
    part.replace(path)


def _complete(url: str, part: Path) -> None:
    """Download to a file, going on from what it holds, as often as needed."""
    n_in_vain = 0
    furthest = part.stat().st_size if part.exists() else 0
    while True:
        try:
            _transfer(url, part)
            return
        except TransferError as error:
            reason = str(error)
        except (http.client.HTTPException, urllib.error.URLError, OSError) as error:
            reason = _permanent(url, part, error)
        arrived = part.stat().st_size if part.exists() else 0
        n_in_vain = 0 if arrived > furthest else n_in_vain + 1
        furthest = max(furthest, arrived)
        if n_in_vain == ATTEMPTS:
            raise AsrError(
                f"{url}: nothing arrived in {ATTEMPTS} attempts ({reason}); start again later, "
                f"it goes on after {arrived:,} bytes"
            )
        print(f"{url}: interrupted after {arrived:,} bytes ({reason}); going on", file=sys.stderr)
        time.sleep(min(30, 2**n_in_vain) if n_in_vain else 0)


def _permanent(url: str, part: Path, error: Exception) -> str:
    """Raise what will not go away by waiting; return the reason of anything else."""
    if isinstance(error, urllib.error.HTTPError):
        if error.code < 500 and error.code not in (408, 429):
            raise AsrError(
                f"{url}: the server answers {error.code} {error.reason}; name another mirror "
                "with --base-url"
            ) from None
        return f"{error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError) and (is_full or error.filename is not None):
        raise AsrError(f"{part}: cannot be written ({error.strerror})") from None
    return str(error) or type(error).__name__


def _transfer(url: str, part: Path) -> None:
    """Download once, from the end of the file if the server can."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "asr-toolkit"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise
        # Nothing lies beyond: complete, unless the file is longer than the server's.
        if error.headers.get("Content-Range") != f"bytes */{start}":
            part.unlink()
            raise TransferError("what was there does not fit the server's file") from None
        return
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0  # a server without ranges sends all of it
        elif not (response.headers["Content-Range"] or "").startswith(f"bytes {start}-"):
            raise TransferError("the server sent another range than asked for")
        length = response.headers["Content-Length"]
        total = start + int(length) if length else None
        _check_space(part.parent, total, start)
        with (
            part.open("r+b" if start else "wb") as file,
            _progress(url.rsplit("/", 1)[1], total) as progress,
        ):
            file.seek(start)
            while block := response.read(BLOCK_BYTES):
                file.write(block)
                progress(file.tell())
            arrived = file.tell()
    if total is not None and arrived < total:
        raise TransferError("the connection was closed")


def _check_space(folder: Path, total: int | None, start: int) -> None:
    if total is None:
        return
    # FLAC files hardly shrink in an archive: extracted they need about the same again.
    needed, free = 2 * total - start, shutil.disk_usage(folder).free
    if free < needed:
        raise AsrError(
            f"{folder}: {free / 1e9:.1f} GB are free, {needed / 1e9:.1f} GB are needed for the "
            "archive and its files; name another folder with --data"
        )


def _write_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write a file or make a folder; what would lie elsewhere, or is a link, is an error."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
        raise tarfile.TarError(f"{member.name!r} is no file or folder inside the archive's own")
    target = folder / path
    (target if member.isdir() else target.parent).mkdir(parents=True, exist_ok=True)
    if member.isfile():
        source = archive.extractfile(member)
        assert source is not None  # a file has contents
        with source, target.open("wb") as file:
            shutil.copyfileobj(source, file)


def _extract(archive: Path, subset: str, folder: Path) -> None:
    """Extract beside the target first, so that a folder with its name is always complete."""
    temporary = folder / f".{subset}.extracting"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with (
            _progress(f"extracting {archive.name}", archive.stat().st_size) as progress,
            archive.open("rb") as file,
            tarfile.open(fileobj=file, mode="r|gz") as members,
        ):
            for member in members:
                _write_member(members, member, temporary)
                progress(file.tell())
    except (tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise AsrError(f"{archive}: cannot be extracted ({error})") from None
    extracted = temporary / "LibriSpeech"
    if not (extracted / subset).is_dir():
        shutil.rmtree(temporary)
        raise AsrError(f"{archive}: holds no LibriSpeech/{subset}; this is another archive")
    for file_beside in extracted.iterdir():  # README, LICENSE, SPEAKERS: the same in each
        if file_beside.is_file():
            file_beside.replace(folder / file_beside.name)
    (extracted / subset).replace(folder / subset)
    shutil.rmtree(temporary)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with (
        _progress(f"checking {path.name}", path.stat().st_size) as progress,
        path.open("rb") as file,
    ):
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            progress(file.tell())
    return digest.hexdigest()


@contextmanager
def _progress(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, which is given the number of bytes done; a line elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        size = "size unknown" if total is None else f"{total:,} bytes"
        print(f"{name} ({size})", file=sys.stderr)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}"), *columns, console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(name, total=total)
        yield lambda done: progress.update(task, completed=done)


def _read_checksums(path: Path) -> dict[str, str]:
    """Read the lines of `sha256sum`: a checksum and a file name each."""
    checksums = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise AsrError(f"{path}: cannot be read as text; lines of sha256sum are needed") from None
    for number, line in enumerate(lines, start=1):
        checksum, _, name = line.partition(" ")
        if len(checksum) != 64 or not name.strip():
            raise AsrError(f"{path}:{number}: not a line of sha256sum (SHA-256, file name)")
        checksums[Path(name.strip(" *")).name] = checksum.lower()
    return checksums


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Fetch subsets of LibriSpeech.")
    parser.add_argument("folder", type=Path, help="receives the subsets")
    parser.add_argument("subsets", metavar="SUBSET", nargs="*", help="such as train-clean-100")
    parser.add_argument(
        "--language-model",
        metavar="NAME",
        help="a file of the language-model folder, such as 3-gram.pruned.1e-7.arpa.gz",
    )
    parser.add_argument(
        "--language-model-url", default=LANGUAGE_MODEL_URL, help="that folder (%(default)s)"
    )
    parser.add_argument(
        "--base-url",
        default=os.environ.get("LIBRISPEECH_URL", BASE_URL),
        help="folder of the archives (default: the variable LIBRISPEECH_URL, else %(default)s)",
    )
    parser.add_argument(
        "--checksums", type=Path, help="output of sha256sum for a mirror that packed anew"
    )
    parser.add_argument("--keep-archives", action="store_true", help="do not delete them")
    arguments = parser.parse_args(argv)
    try:
        if "://" not in arguments.base_url:
            raise AsrError(f"--base-url {arguments.base_url}: needs the form https://HOST/FOLDER")
        source = Source(arguments.base_url, arguments.checksums)
        for subset in arguments.subsets:
            fetch(subset, arguments.folder, source, keep_archive=arguments.keep_archives)
        if name := arguments.language_model:
            fetch_file(f"{arguments.language_model_url}/{name}", arguments.folder / name)
    except AsrError as error:
        print(f"download: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.filename is None:
            raise
        print(f"download: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return AsrError.exit_code
    except KeyboardInterrupt:
        print("download: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
