"""Components whose script and styles a browser fetches once.

Streamlit sends a component's script along with every change of its data. What is sent here is a
few lines that import the real script from `routes`.
"""

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from dashboard.routes import PREFIX

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
    """Declares a component of the script and styles in the folder of this name."""
    static = f"{PREFIX.removeprefix('/')}/static"
    addresses = {kind: f"{static}/{name}/{name}.{kind}" for kind in ("js", "css")}
    return st.components.v2.component(
        f"chromabench.{name}",
        html=html,
        js=_LOADER % {"name": name, **addresses},
        isolate_styles=False,
    )
