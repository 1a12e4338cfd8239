"""Whether a JPEG file is whole: decoders fill up one that was cut off."""

import re

# JPEG: a marker; one that is not part of the coded data; the ones that matter.
_MARKER, _IN_DATA = re.compile(rb"\xff[^\x00\xff]"), re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_DATA, _END = 0xDA, 0xD9


def has_end(content: bytes) -> bool:
    """Whether a JPEG's data ends; what stands behind it, and in its headers, says nothing."""
    at, in_data = 2, False
    while marker := (_IN_DATA if in_data else _MARKER).search(content, at):
        kind, at = content[marker.end() - 1], marker.end()
        if kind == _END:
            return True
        in_data = in_data or kind == _DATA
        at += int.from_bytes(content[at : at + 2], "big")  # segments say their length
    return False
