"""Components whose script and styles a browser fetches once.

Streamlit sends a component's script along with every change of its data. What is sent here is a
few lines that import the real script from `routes`, whose address holds a hash of its content.
"""

import hashlib
from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from dashboard.routes import PREFIX

FOLDER = Path(__file__).parent / "scripts"

_LOADER = """
const address = (name) => new URL(name, document.baseURI).href
if (!document.querySelector('link[data-of="%(name)s"]')) {
  const link = document.createElement("link")
  link.rel = "stylesheet"
  link.dataset.of = "%(name)s"
  link.href = address("%(css)s")
  document.head.append(link)
}
const script = import(address("%(js)s"))

export default function (component) {
  let leave = null
  let isGone = false
  script.then((it) => {
    if (!isGone) leave = it.default(component)
  }).catch((error) => console.error(error))
  return () => {
    isGone = true
    if (leave) leave()
  }
}
"""


def component(name: str, html: str) -> ComponentRenderer:
    """Declares a component of the script and styles of this name in `scripts`."""
    files = {kind: FOLDER / f"{name}.{kind}" for kind in ("js", "css")}
    addresses = {
        kind: f"{PREFIX.removeprefix('/')}/static/{path.name}?v={_digest(path)}"
        for kind, path in files.items()
    }
    return st.components.v2.component(
        f"chromabench.{name}",
        html=html,
        js=_LOADER % {"name": name, **addresses},
        isolate_styles=False,
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
