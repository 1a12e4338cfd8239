"""Two pictures over each other with an edge between them that a reader moves."""

import base64

from dashboard.components.js_component import component

_component = component("swipe", html="""<figure class="swipe"></figure>""")


def swipe(key: str, before: bytes, after: bytes, size: tuple[int, int], about: str) -> None:
    """Draws them.

    Args:
        key: of the component.
        before: a WebP file, on the left of the edge.
        after: likewise, of the same aspect, on the right.
        size: width and height of the pictures in pixels, for the room that they take.
        about: what is seen, for those who do not see it.
    """
    _component(
        key=key,
        data={
            "before": _address(before),
            "after": _address(after),
            "width": size[0],
            "height": size[1],
            "about": about,
        },
    )


def _address(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"
