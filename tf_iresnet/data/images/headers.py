"""What the head of a PNG or JPEG file says that TensorFlow's decoders leave out.

Pillow knows it as well, but decodes the whole of a PNG to look for its orientation: as much work
once more, for every image of every batch that is streamed.
"""

import dataclasses
import struct

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # how the files begin
_EXIF, _ORIENTATION = b"Exif\0\0", 0x0112
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a JPEG's frame
_ALONE = frozenset(range(0xD0, 0xD8)) | {0x01}  # markers without a length
_SCAN, _APP1 = 0xDA, 0xE1


@dataclasses.dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded.

    Args:
        bits: per channel.
        components: of a JPEG file, 4 for CMYK; None if unknown.
        frames: more than 1 for an animated PNG.
        orientation: 1 to 8, as EXIF counts them; 1 is upright.
    """

    bits: int = 8
    components: int | None = None
    frames: int = 1
    orientation: int = 1


def read_header(contents: bytes) -> Header:
    """Returns the header of a PNG or JPEG file; of a damaged one, what can be read of it."""
    try:
        return _of_png(contents) if contents.startswith(PNG) else _of_jpeg(contents)
    except (struct.error, IndexError):
        return Header()


def _of_png(contents: bytes) -> Header:
    known, place = dict[str, int](), len(PNG)
    while place + 8 <= len(contents):
        length, kind = struct.unpack_from(">I4s", contents, place)
        start = place + 8
        if kind == b"IHDR":
            known["bits"] = contents[start + 8]
        elif kind == b"acTL":
            known["frames"] = struct.unpack_from(">I", contents, start)[0]
        elif kind == b"eXIf":
            known["orientation"] = _orientation(contents[start : start + length])
        place = start + length + 4
    return Header(**known)


def _of_jpeg(contents: bytes) -> Header:
    known, place = dict[str, int](), 2
    while place + 4 <= len(contents):
        mark, kind, length = struct.unpack_from(">BBH", contents, place)
        if mark != 0xFF or kind == _SCAN:
            break
        if kind == 0xFF or kind in _ALONE:  # a filling byte, or a marker of two bytes
            place += 1 if kind == 0xFF else 2
            continue
        start = place + 4
        if kind in _FRAMES:
            known |= {"bits": contents[start], "components": contents[start + 5]}
        elif kind == _APP1 and contents.startswith(_EXIF, start):
            known["orientation"] = _orientation(contents[start + 6 : place + 2 + length])
        place += 2 + length
    return Header(**known)


def _orientation(exif: bytes) -> int:
    """The orientation in EXIF data, 1 where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    (entries,) = struct.unpack_from(f"{order}H", exif, start)
    for entry in range(start + 2, start + 2 + 12 * entries, 12):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
        if tag == _ORIENTATION and kind == 3 and 1 <= value <= 8:  # 3: 16 bits, unsigned
            return value
    return 1
