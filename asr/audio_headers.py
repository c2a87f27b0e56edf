"""What an audio file says about its own length, read before a decoder hides the difference.

Decoders shorten a cut file in silence: libsndfile takes the samples that are there, and of an
MP3 without a length tag it drops what goes beyond its estimate.  So the promise of the header
is read here and held against the file.
"""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Header", "read_header"]

_WINDOW_BYTES = 16_384
_END_OF_STREAM = 4
_TAIL_BYTES = 27 + 255 + 255 * 255  # the largest Ogg page (RFC 3533)

# Bit rates of MPEG-1 and of MPEG-2 and 2.5 layer III (ISO 11172-3, 13818-3).
_KBPS_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)

# Sloppy headers count themselves in or forget a pad byte.
_TOLERANCE_BYTES = 1024
# Written by programs that cannot go back to fill in the size: ffmpeg, sox, arecord, ...
_UNKNOWN_SIZES = (range(0x7F000000, 0x80000001), range(0xFFFF0000, 0x100000000))


@dataclass(frozen=True)
class Header:
    """The kind of file, by its first bytes, and whether all of it is there.

    Args:
        kind: "riff", "aiff", "au", "flac", "ogg", "oggs" (several streams, of which libsndfile
            reads one), "mp3", "mpeg" (begins like MP3, but no frames of it follow) or "other"
        fraction: how much of the promised audio is there, 0 to 1; 1 where nothing is promised;
            0 for Ogg without its last page, which promises no length
        is_length_known: False where a decoder's number of samples is only a guess
        tag_offset: where an MP3's length tag lies that does not fit the file, else None
    """

    kind: str
    fraction: float = 1.0
    is_length_known: bool = True
    tag_offset: int | None = None


def read_header(file: BinaryIO) -> Header:
    """Read what a file states about itself.

    Args:
        file: seekable, at its start

    References:
        RIFF/WAVE and RF64 (EBU Tech 3306), AIFF-C (Apple 1991), Sun AU, Ogg (RFC 3533),
        the Xing/Info tag of MP3 encoders.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE":
        order = ">" if head[:4] == b"RIFX" else "<"
        return Header("riff", _chunk_fraction(file, size, order, b"data"))
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        return Header("aiff", _chunk_fraction(file, size, ">", b"SSND"))
    if head[:4] == b".snd":
        start, stated = struct.unpack(">II", head[4:])
        return Header("au", _fraction(size - start, stated))
    if head[:4] == b"fLaC":
        return Header("flac")
    if head[:4] == b"OggS":
        return _ogg_header(file, size)
    return _mpeg_header(file, size)


def _fraction(there: int, stated: int) -> float:
    if there >= stated - _TOLERANCE_BYTES or any(stated in sizes for sizes in _UNKNOWN_SIZES):
        return 1.0
    return max(there, 0) / stated


def _chunk_fraction(file: BinaryIO, size: int, order: str, wanted: bytes) -> float:
    position = 12
    long_size: int | None = None
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"ds64" and position + 24 <= size:
            _, long_size = struct.unpack("<QQ", file.read(16))
        if name == wanted:
            if length == 0xFFFFFFFF and long_size is not None:
                return min(1.0, (size - position - 8) / max(long_size, 1))
            return _fraction(size - position - 8, length)
        position += 8 + length + length % 2
    return 1.0  # libsndfile judges


def _ogg_header(file: BinaryIO, size: int) -> Header:
    file.seek(0)
    serial = file.read(18)[14:]
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0 or page + 27 > len(tail):
        return Header("ogg", 0.0)
    n_segments = tail[page + 26]
    end = page + 27 + n_segments + sum(tail[page + 27 : page + 27 + n_segments])
    if end > len(tail) or not tail[page + 5] & _END_OF_STREAM:
        return Header("ogg", 0.0)
    return Header("ogg" if tail[page + 14 : page + 18] == serial else "oggs")


def _mpeg_header(file: BinaryIO, size: int) -> Header:
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3":
        # The size counts 7 bits a byte; bit 4 of the flags announces a footer.
        length = sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
        start = 10 + length + (10 if head[5] & 0x10 else 0)
    elif not (head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        return Header("other")
    file.seek(start)
    window = file.read(_WINDOW_BYTES)
    first = _first_frame(window)
    if first is None:
        return Header("mpeg")
    # Behind the frame's header comes side information, whose size the version and the number
    # of channels give, and then the tag.
    is_version_1, is_mono = window[first + 1] & 0x18 == 0x18, window[first + 3] >> 6 == 3
    offset = first + 4 + ((17 if is_mono else 32) if is_version_1 else (9 if is_mono else 17))
    tag = window[offset : offset + 16]
    if tag[:4] not in (b"Xing", b"Info") or tag[7] & 3 != 3:
        return Header("mp3", is_length_known=False)
    stated = int.from_bytes(tag[12:16], "big")
    there = size - start - first
    if there < 0.99 * stated:
        return Header("mp3", there / stated)
    # Files joined end to end keep the first one's tag; so do files with a long tag at the end.
    misfit = there > 1.01 * stated
    return Header("mp3", 1.0, not misfit, start + offset if misfit else None)


def _first_frame(window: bytes) -> int | None:
    """Where the first layer III frame lies that a second one follows."""
    for position in range(len(window) - 3):
        n_bytes = _frame_bytes(window[position : position + 4])
        following = window[position + n_bytes : position + n_bytes + 4]
        if n_bytes and (_frame_bytes(following) or (position == 0 and not following)):
            return position
    return None


def _frame_bytes(header: bytes) -> int:
    """The size of an MPEG layer III frame, 0 where this is no header of one."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return 0
    is_version_1 = version == 3
    kbps = (_KBPS_1 if is_version_1 else _KBPS_2)[bitrate - 1]
    hz = (44_100, 48_000, 32_000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    return (144_000 if is_version_1 else 72_000) * kbps // hz + (header[2] >> 1 & 1)
