"""Parses decodings: how a picture is read from a distribution over palette colours. Torch-free.

A decoding is a text such as `medoid:1+flat+steer`: a rule with its strength, and options. It can be
changed after training without changing a weight. `networks.decoding` computes it.
"""

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class DecodingRule:
    """One way to choose a colour from a distribution.

    Attributes:
        name: the first part of a decoding's text.
        strength: the name of the number after the colon; "" if the rule takes no number.
        default_strength: the number if the text has none.
        help: one sentence for a tooltip.
    """

    name: str
    strength: str
    default_strength: float
    help: str


# fmt: off
_RULE_ROWS = (
    # name     strength      default  help
    ("mean",   "",            0.0,    "The mean colour of the distribution: the least error, but pale."),
    ("sharp",  "temperature", 0.1,    "The mean after dividing the logits by a temperature: near 0, the most probable colour."),
    ("median", "gamma",       1.0,    "The most probable colour whose colourfulness is near the median of the distribution; gamma weighs the colourfulness."),
    ("medoid", "gamma",       1.0,    "The colour nearest to the whole distribution; gamma weighs how near its colourfulness is to the median, the more, the less certain the colour is."),
    ("sample", "temperature", 0.5,    "A random colour of the distribution after dividing the logits by a temperature: another seed, another answer."),
)
# fmt: on
# Rules that choose at a quantile of the colourfulness.
_STEERED_RULES = ("median", "medoid")

RULES: dict[str, DecodingRule] = {row[0]: DecodingRule(*row) for row in _RULE_ROWS}
OPTIONS = {
    "flat": "every region of the line art has one colour",
    "steer": "the colourfulness of the picture follows the estimate for the whole drawing",
}
MAX_STRENGTH = 100.0
_TEXT_PATTERN = re.compile(r"(?P<rule>[a-z]+)(?::(?P<strength>[0-9.e-]+))?(?P<options>(\+[a-z]+)*)")


@dataclass(frozen=True)
class Decoding:
    """How a picture is read from a distribution over palette colours.

    Attributes:
        rule: a key of `RULES`.
        strength: the temperature or gamma of the rule; 0 for `mean`.
        is_flat: whether every region of the line art gets one colour.
        is_steered: whether the colourfulness of the picture follows the estimate for the drawing.
        seed: the seed of random colours, for `sample`.
    """

    rule: str = "mean"
    strength: float = 0.0
    is_flat: bool = False
    is_steered: bool = False
    seed: int = 0

    def __str__(self) -> str:
        strength = f":{self.strength:g}" if RULES[self.rule].strength else ""
        options = ("+flat" if self.is_flat else "") + ("+steer" if self.is_steered else "")
        return f"{self.rule}{strength}{options}"


def parse_decoding(text: str, seed: int = 0) -> Decoding:
    """Parses the text of a decoding, for example `medoid:1+flat+steer`.

    Args:
        text: the rule, its strength and options.
        seed: the seed of random colours, for the rule `sample`.

    Raises:
        ValueError: the text is no decoding; the message is the end of a sentence.
    """
    match = _TEXT_PATTERN.fullmatch(text)
    rule = RULES.get(match["rule"]) if match is not None else None
    if match is None or rule is None:
        raise ValueError(
            f"decoding must be one of {', '.join(RULES)}, with a number and options as in "
            f"medoid:1+flat+steer, not {text[:60]!r}"
        )
    options = match["options"].split("+")[1:]
    for option in options:
        if option not in OPTIONS or options.count(option) > 1:
            raise ValueError(
                f"decoding has the options {' and '.join(OPTIONS)}, each at most once, not "
                f"{option!r}"
            )
    if "steer" in options and rule.name not in _STEERED_RULES:
        raise ValueError(
            f"decoding can be steered only with the rules {' and '.join(_STEERED_RULES)}, not "
            f"{rule.name}: remove +steer"
        )
    strength = _parse_strength(rule, match["strength"])
    return Decoding(rule.name, strength, "flat" in options, "steer" in options, seed)


def _parse_strength(rule: DecodingRule, text: str | None) -> float:
    """Parses the number after the colon; raises `ValueError` if it is out of range."""
    if not rule.strength:
        if text is not None:
            raise ValueError(f"decoding {rule.name} takes no number, not {text[:20]!r}")
        return 0.0
    try:
        strength = rule.default_strength if text is None else float(text)
    except ValueError:
        strength = math.nan
    if not 0 < strength <= MAX_STRENGTH:
        raise ValueError(
            f"the {rule.strength} of the decoding {rule.name} must be more than 0 and at most "
            f"{MAX_STRENGTH:g}, not {str(text)[:20]!r}"
        )
    return strength
