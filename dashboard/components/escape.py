"""Words that people typed, shown as they typed them."""

import re

# Colons and at signs too: addresses would become links by themselves.
_MARKUP = re.compile(r"([\\`*_\[\]<>#!|~$:@]|(?<=www)\.)")


def plain(text: str) -> str:
    """The text with nothing in it taken for markup; markdown too can load a remote picture."""
    return _MARKUP.sub(r"\\\1", text)
