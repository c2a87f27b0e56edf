"""Named arrays in one file that is opened as a memory map: magic, JSON head, raw arrays."""

import json
import os
import struct
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from lm.compressed import PathName, replacing

__all__ = ["MAGIC", "read_arrays", "write_arrays"]

# Like PNG's: no text file starts so, and a transfer that touches line ends destroys it.
MAGIC = b"\x89NGRAM\r\n"
VERSION = 1

# Version, size of the JSON head, its CRC-32.
_HEAD = struct.Struct("<III")
_ALIGNMENT = 64
_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("u1", "u2", "i4", "f4")}


def write_arrays(
    path: PathName, arrays: Mapping[str, NDArray[Any]], fields: Mapping[str, Any]
) -> None:
    """Write one-dimensional arrays and a few JSON fields; the file is put in place whole.

    Raises:
        LanguageModelError: the file cannot be written
    """
    offset = 0
    entries: list[dict[str, Any]] = []
    for name, array in arrays.items():
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        entry = {"name": name, "dtype": data.dtype.str[1:], "size": len(data), "offset": offset}
        entries.append({**entry, "crc32": zlib.crc32(data.data)})
        offset += _aligned(data.nbytes)
    head = json.dumps({**fields, "arrays": entries}, ensure_ascii=False).encode()
    start = MAGIC + _HEAD.pack(VERSION, len(head), zlib.crc32(head)) + head
    with replacing(path) as writing, writing.open("wb") as file:
        file.write(_padded(start))
        for array in arrays.values():
            file.write(_padded(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data))


def read_arrays(
    path: PathName, *, verify: bool = False
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Map a file's arrays into memory, read-only.

    Args:
        path: what `write_arrays` wrote
        verify: read everything and compare the checksums; else only the head's is compared

    Returns:
        The arrays by name, and the JSON fields.

    Raises:
        LanguageModelError: no such file, another format or version, or damage
    """
    name = os.fspath(path)
    if sys.byteorder != "little":
        raise LanguageModelError(f"{name}: such files can be used on little-endian machines only")
    try:
        with Path(path).open("rb") as file:
            start = file.read(len(MAGIC) + _HEAD.size)
            if not start.startswith(MAGIC):
                raise LanguageModelError(
                    f"{name}: no n-gram table; make one with `python -m lm convert`"
                )
            if len(start) < len(MAGIC) + _HEAD.size:
                raise _damaged(name, "its head is cut off")
            version, size, checksum = _HEAD.unpack(start[len(MAGIC) :])
            if version != VERSION:
                raise LanguageModelError(
                    f"{name}: table format {version}, this program reads {VERSION}; make the table "
                    "again with `python -m lm convert`"
                )
            head = file.read(size)
        content = np.memmap(path, np.uint8, mode="r")
    except OSError as error:
        raise LanguageModelError(f"{name}: cannot be read ({error.strerror})") from None
    if len(head) != size or zlib.crc32(head) != checksum:
        raise _damaged(name, "its head is not as written")
    fields: dict[str, Any] = json.loads(head)
    offset = _aligned(len(start) + size)
    arrays: dict[str, NDArray[Any]] = {}
    for entry in fields.pop("arrays"):
        dtype = _DTYPES[entry["dtype"]]
        first = offset + entry["offset"]
        data = content[first : first + entry["size"] * dtype.itemsize]
        if len(data) != entry["size"] * dtype.itemsize:
            raise _damaged(name, f"{content.size} bytes are too few")
        if verify and zlib.crc32(data.data) != entry["crc32"]:
            raise _damaged(name, f"the array {entry['name']} is not as written")
        arrays[entry["name"]] = np.asarray(data).view(dtype)
    return arrays, fields


def _damaged(name: str, how: str) -> LanguageModelError:
    return LanguageModelError(f"{name}: damaged n-gram table, {how}; copy it anew")


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT


def _padded(data: bytes | memoryview) -> bytes:
    n_bytes = data.nbytes if isinstance(data, memoryview) else len(data)
    return bytes(data) + bytes(_aligned(n_bytes) - n_bytes)
