"""Escapes user text for Markdown."""

import re

# Colons and at signs are included because Markdown turns bare addresses into links.
_MARKUP = re.compile(r"([\\`*_\[\]<>#!|~$:@]|(?<=www)\.)")


def escape_markdown(text: str) -> str:
    """Escapes all Markdown in a text, so that the page shows no formatting or remote pictures."""
    return _MARKUP.sub(r"\\\1", text)
