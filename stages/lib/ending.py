"""Whether a file's last bytes are there: decoders often have all pixels before they reach a file's end.

A download that stopped two bytes early shows that bytes are missing, so it is not to be trusted; measured, a
cut JPEG of flat colour and a PNG cut inside its last chunk pass both of Pillow's checks.
"""

import re
import zlib

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
_JPEG_END = 0xD9
_JPEG_WITHOUT_LENGTH = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})


def has_sound_chunks(data: bytes) -> bool:
    """Tell whether a PNG is nothing but chunks with right checksums up to its end mark (PNG, section 5.3).

    Then Pillow's `verify` passes too; where not, it has the words for what is wrong, or it knows better.
    """
    position, ending = len(_PNG_START), False
    while not ending and position + 12 <= len(data):
        body = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if not data[position + 4 : position + 8].isalpha():
            return False
        if zlib.crc32(data[position + 4 : body]) != int.from_bytes(data[body : body + 4], "big"):
            return False
        ending = data[position + 4 : position + 8] == b"IEND"
        position = body + 4
    return ending and position <= len(data)


def is_cut(data: bytes, image_format: str) -> bool:
    """Tell whether a file of an allowed format ends before its own end mark or its own length."""
    if image_format == "PNG":
        return _PNG_END not in data
    if image_format == "JPEG":
        return not _reaches_jpeg_end(data)
    if image_format == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return False


def _reaches_jpeg_end(data: bytes) -> bool:
    """Walk from marker to marker (ITU-T T.81, B.1.1): between them lie segments and coded pixels.

    What follows the first end mark (further pictures, a phone's short film) does not matter.
    """
    position = 0
    while match := _JPEG_MARKER.search(data, position):
        marker = match[0][1]
        if marker == _JPEG_END:
            return True
        position = match.end()
        if marker not in _JPEG_WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
    return False
