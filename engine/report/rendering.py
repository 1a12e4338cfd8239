"""Renders Jinja templates to HTML and SVG; every value is escaped.

Each template is in a folder `templates` beside the code that renders it. The callers prepare the
values, so that templates contain only loops and conditions.
"""

import re
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: Path, **values: object) -> str:
    """Renders a template.

    Args:
        template: the file; it may include and extend the other templates of its folder.
        values: the variables of the template.

    Raises:
        jinja2.UndefinedError: the template uses a variable that has no value.
    """
    return _environment(template.parent).get_template(template.name).render(values)


@cache
def _environment(folder: Path) -> "Environment":
    # Imported here because most commands, for example `runs`, render nothing.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline_code"] = _inline_code
    return environment


def _inline_code(text: str) -> str:
    """Escapes plain text, and marks the text in backticks as code."""
    from jinja2.filters import do_mark_safe

    return do_mark_safe(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))
