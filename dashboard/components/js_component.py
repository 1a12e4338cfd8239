"""Declares components whose script and style sheet the browser loads once.

Streamlit sends the script of a component together with every change of its data. Therefore the
script given to Streamlit has only a few lines, which import the real script from `routes`.
"""

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from dashboard.routes import PREFIX

_LOADER = """
const absolute = (path) => new URL(path, document.baseURI).href
if (!document.querySelector('link[data-component="%(name)s"]')) {
  const link = document.createElement("link")
  link.rel = "stylesheet"
  link.dataset.component = "%(name)s"
  link.href = absolute("%(css)s")
  document.head.append(link)
}
const loading = import(absolute("%(js)s"))

export default function (component) {
  let cleanUp = null
  let isUnmounted = false
  loading.then((module) => {
    if (!isUnmounted) cleanUp = module.default(component)
  }).catch((error) => console.error(error))
  return () => {
    isUnmounted = true
    if (cleanUp) cleanUp()
  }
}
"""


def component(name: str, html: str) -> ComponentRenderer:
    """Declares a component with the script and the style sheet in the folder `name`."""
    static = f"{PREFIX.removeprefix('/')}/static"
    urls = {suffix: f"{static}/{name}/{name}.{suffix}" for suffix in ("js", "css")}
    return st.components.v2.component(
        f"chromabench.{name}",
        html=html,
        js=_LOADER % {"name": name, **urls},
        isolate_styles=False,
    )
