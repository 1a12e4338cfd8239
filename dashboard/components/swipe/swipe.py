"""Two pictures on top of each other, with a movable edge between them."""

import base64

from dashboard.components.js_component.component import component

_component = component("swipe", html="""<figure class="swipe"></figure>""", subject="The picture")


def swipe(key: str, before: bytes, after: bytes, size: tuple[int, int], description: str) -> None:
    """Draws two pictures of the same aspect ratio.

    Args:
        key: the key of the component.
        before: a WebP file, left of the edge.
        after: a WebP file, right of the edge.
        size: width and height in pixels on the page.
        description: the text of `after` for screen readers.
    """
    _component(
        key=key,
        data={
            "before": _data_url(before),
            "after": _data_url(after),
            "width": size[0],
            "height": size[1],
            "description": description,
        },
    )


def _data_url(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"
