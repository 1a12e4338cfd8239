"""Escapes user text for Markdown."""

import re

# Colons and at signs are included because Markdown turns bare addresses into links.
_MARKUP = re.compile(r"([\\`*_\[\]<>#!|~$:@]|(?<=www)\.)")


def escape_markdown(text: str) -> str:
    """Escapes inline Markdown, so that user text shows no formatting, links or pictures.

    The list markers `-`, `+` and `1.` are not escaped.
    """
    return _MARKUP.sub(r"\\\1", text)


def escape_badge(text: str) -> str:
    """Escapes inline Markdown for `st.badge`, which escapes square brackets itself."""
    return escape_markdown(text).replace("\\[", "[").replace("\\]", "]")
