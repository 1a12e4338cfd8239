"""Defines the outputs of generators, one row per output. Does not import torch.

An output says what a generator computes for each pixel, and how a picture is made from it.
`config` validates names with this table. A new output needs a row here and a builder in
`networks.outputs`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Output:
    """One output of generators.

    Attributes:
        name: the key in configurations, budgets and `--set`.
        channels: values that the network computes per pixel; 0: one for each palette colour.
        source_label: the kind of source that the output needs, `sketch` or `grey`; "" for any.
        needs: the rest of a sentence that begins with `output=NAME`, for an error message about the
            wrong kind of source; "" if the output needs no kind.
        help: one sentence for a tooltip.
    """

    name: str
    channels: int
    source_label: str
    needs: str
    help: str

    @property
    def has_palette(self) -> bool:
        """Whether the network computes a distribution over the colours of a palette."""
        return self.channels == 0

    def fits(self, source_label: str) -> bool:
        """Returns whether the output can be made from a kind of source, `sketch` or `grey`."""
        return self.source_label in ("", source_label)


# fmt: off
_ROWS = (
    # name         channels source    needs                                                                help
    ("rgb",        3,       "",       "",                                                                  "The network paints the whole picture."),
    ("lab_ab",     2,       "grey",   "keeps the grey values of photographs and adds colours",             "The network paints the colour channels a and b of CIE Lab; the grey source keeps its lightness."),
    ("line_fill",  3,       "sketch", "multiplies the painted colours by the lightness of line art",       "The network paints a fill, which is multiplied by the lightness of the sketch, so that lines are exact."),
    ("palette",    0,       "sketch", "multiplies the colours of a palette by the lightness of line art",  "The network estimates for each pixel how probable each colour of a palette is; the fill is multiplied by the lightness of the sketch."),
)
# fmt: on

OUTPUTS: dict[str, Output] = {row[0]: Output(*row) for row in _ROWS}
