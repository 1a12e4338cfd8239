"""Hooks of the documentation site (`mkdocs.yml`): MkDocs calls them while it builds the site."""

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts import reference

PROJECT = Path(__file__).parent.parent
DECISIONS = "adr/index.md"
# Files outside of docs/ that the site contains -> their places in the site.
COPIED_FILES = {
    "CHANGELOG.md": "changelog.md",
    "dashboard/static/icon.png": "img/icon.png",
}
# The dashboard's fonts, which Streamlit ships -> their places in the site.
FONTS = {
    "SourceSansVF-Upright*.woff2": "stylesheets/source-sans.woff2",
    "SourceSansVF-Italic*.woff2": "stylesheets/source-sans-italic.woff2",
    "SourceCodeVF-Upright*.woff2": "stylesheets/source-code.woff2",
}
# Targets of links that leave docs/ -> the pages that the site has instead.
REDIRECTED_LINKS = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}

GENERATED_BLOCK = re.compile(r"<!-- generated: ([a-z ]+) -->\n.*?<!-- end: \1 -->", re.DOTALL)
LIST_MARKER = re.compile(r"(?:[-*]|\d+\.) +")
LIST_INDENT = 4
LIGHT_PICTURE = re.compile(r"!\[([^]]*)\]\(([\w./-]+)-light\.png\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the decision records to the navigation, in the order of their numbers."""
    records = [f"adr/{path.name}" for path in reference.decision_records()]
    config.nav = _expand(config.nav or [], DECISIONS, [DECISIONS, *records])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files outside of docs/ that the site contains, and the fonts."""
    media = Path(str(resources.files("streamlit"))) / "static" / "static" / "media"
    copies = {PROJECT / source: target for source, target in COPIED_FILES.items()}
    copies |= {path: target for pattern, target in FONTS.items() for path in media.glob(pattern)}
    for path, target in copies.items():
        files.append(File.generated(config, target, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills the generated blocks, redirects links and adds the dark variants of pictures."""
    markdown = _adapt_lists(markdown)
    markdown = GENERATED_BLOCK.sub(lambda block: reference.GENERATED[block[1]](), markdown)
    to_root = "../" * page.file.src_uri.count("/")
    for target, replacement in REDIRECTED_LINKS.items():
        markdown = markdown.replace(f"]({to_root}../{target}", f"]({to_root}{replacement}")
    return LIGHT_PICTURE.sub(
        r"![\1](\2-light.png#only-light)![\1](\2-dark.png#only-dark)", markdown
    )


def _adapt_lists(markdown: str) -> str:
    """Rewrites the CommonMark lists of the sources for Python-Markdown.

    Python-Markdown requires an indent of four spaces for the content of an item, and an empty line
    before a list and between items of several paragraphs.
    """
    lines: list[str] = []
    indent, in_fence, needs_empty_line = 0, False, False
    for line in markdown.splitlines():
        marker = LIST_MARKER.match(line)
        if line.startswith("```"):
            in_fence = not in_fence
        if marker and not in_fence:
            if needs_empty_line and lines and lines[-1]:
                lines.append("")
            indent, needs_empty_line = LIST_INDENT - len(marker[0]), False
        elif not line:
            needs_empty_line = True
        elif not line.startswith(" "):
            indent, needs_empty_line = 0, True
        lines.append(" " * indent + line if line.startswith(" ") else line)
    return "\n".join(lines)


def _expand(nav: Sequence[Any], page: str, pages: Sequence[str]) -> list[Any]:
    """Returns the navigation with the entry of one page replaced by a section of pages."""
    expanded = []
    for entry in nav:
        if isinstance(entry, dict):
            title, content = next(iter(entry.items()))
            if content == page:
                entry = {title: list(pages)}
            elif isinstance(content, list):
                entry = {title: _expand(content, page, pages)}
        expanded.append(entry)
    return expanded
