"""Named arrays in one file: magic, JSON head, arrays.

Raw arrays are opened as a memory map.  Compressed ones take a third of the space, and are read into
memory: the bytes of one weight stand together, those of whole numbers as differences to the number
before where that is shorter, packed by zlib.
"""

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
# The format of raw arrays, and the one that may have compressed ones.
_RAW, _COMPRESSED = 1, 2

# Version, size of the JSON head, its CRC-32.
_HEAD = struct.Struct("<III")
_ALIGNMENT = 64
_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("u1", "u2", "i4", "f4")}


def write_arrays(
    path: PathName,
    arrays: Mapping[str, NDArray[Any]],
    fields: Mapping[str, Any],
    *,
    compress: bool = False,
) -> None:
    """Write one-dimensional arrays and a few JSON fields; the file is put in place whole.

    Args:
        path: the file
        arrays: by name, of unsigned bytes, 16-bit words, 32-bit integers or floats
        fields: what else is to be kept
        compress: make the file small in place of one that can be mapped into memory

    Raises:
        LanguageModelError: the file cannot be written
    """
    offset = 0
    entries: list[dict[str, Any]] = []
    written: list[bytes | memoryview] = []
    for name, array in arrays.items():
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        entry = {"name": name, "dtype": data.dtype.str[1:], "size": len(data), "offset": offset}
        entry["crc32"] = zlib.crc32(data.data)
        content: bytes | memoryview = data.view(np.uint8).data
        if compress:
            content, entry["differences"] = _packed(data)
            entry["n_bytes"] = len(content)
        entries.append(entry)
        written.append(content)
        offset += _aligned(len(content))
    head = json.dumps({**fields, "arrays": entries}, ensure_ascii=False).encode()
    version = _COMPRESSED if compress else _RAW
    start = MAGIC + _HEAD.pack(version, len(head), zlib.crc32(head)) + head
    with replacing(path) as writing, writing.open("wb") as file:
        for content in (start, *written):
            file.write(_padded(content))


def read_arrays(
    path: PathName, *, verify: bool = False
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Map a file's arrays into memory, read-only; read those of a compressed file.

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
            if version not in (_RAW, _COMPRESSED):
                raise LanguageModelError(
                    f"{name}: table format {version}, this program reads {_RAW} and {_COMPRESSED}; "
                    "make the table again with `python -m lm convert`"
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
        n_bytes = entry["size"] * dtype.itemsize
        stored = entry.get("n_bytes", n_bytes)
        kept = np.asarray(content[first : first + stored])
        if len(kept) != stored:
            raise _damaged(name, f"{content.size} bytes are too few")
        data: NDArray[np.uint8] | None = kept
        if "n_bytes" in entry:
            data = _unpacked(kept, dtype, n_bytes, differences=entry["differences"])
        if data is None or (verify and zlib.crc32(data.data) != entry["crc32"]):
            raise _damaged(name, f"the array {entry['name']} is not as written")
        arrays[entry["name"]] = data.view(dtype)
    return arrays, fields


def _packed(data: NDArray[Any]) -> tuple[bytes, bool]:
    """Return the compressed bytes of an array, and whether they are those of its differences."""
    packed = zlib.compress(_planes(data), 9)
    if data.dtype.kind != "i" or not len(data):
        return packed, False
    unsigned = data.view(f"<u{data.itemsize}")
    differences = zlib.compress(_planes(np.diff(unsigned, prepend=unsigned.dtype.type(0))), 9)
    return min((packed, False), (differences, True), key=lambda each: len(each[0]))


def _planes(data: NDArray[Any]) -> bytes:
    return data.view(np.uint8).reshape(len(data), data.itemsize).T.tobytes()


def _unpacked(
    packed: NDArray[np.uint8], dtype: np.dtype[Any], n_bytes: int, *, differences: bool
) -> NDArray[np.uint8] | None:
    """Return the bytes of an array; None where the packed ones are damaged."""
    try:
        planes = np.frombuffer(zlib.decompress(packed.data, bufsize=max(1, n_bytes)), np.uint8)
    except zlib.error:
        return None
    if len(planes) != n_bytes:
        return None
    data = np.ascontiguousarray(planes.reshape(dtype.itemsize, -1).T).reshape(-1)
    if differences:
        unsigned = data.view(f"<u{dtype.itemsize}")
        np.cumsum(unsigned, out=unsigned, dtype=unsigned.dtype)
    return data


def _damaged(name: str, how: str) -> LanguageModelError:
    return LanguageModelError(f"{name}: damaged n-gram table, {how}; copy it anew")


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT


def _padded(data: bytes | memoryview) -> bytes:
    return bytes(data) + bytes(_aligned(len(data)) - len(data))
