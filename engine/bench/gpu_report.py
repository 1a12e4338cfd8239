"""The result of `bench gpu`, and the same as a page of Markdown tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Found:
    """All results, as they come."""

    machine: dict[str, Any]
    checks: list[dict[str, Any]] = field(default_factory=list)
    speeds: list[dict[str, Any]] = field(default_factory=list)
    study: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether every check was passed."""
        return all(check["passed"] for check in self.checks)


def describe(found: Mapping[str, Any]) -> str:
    """Checks, speeds and the extrapolated study, for people."""
    machine = found["machine"]
    parts = [
        f"# Training on {machine['device']}",
        f"torch {machine['torch']}, Python {machine['python']}; a matrix product in bf16 reaches "
        f"{machine['limit_tflops']:.3g} TFLOP/s.",
        "## Beside the plain loop, step by step",
        _table(
            ("configuration", "way", "worst relative difference", "at most", "passed"),
            [
                (
                    *(it["configuration"], it["way"], f"{it['error']:.1e}", f"{it['at_most']:g}"),
                    "yes" if it["passed"] else f"NO {'; '.join(it['notes'])}",
                )
                for it in found["checks"]
            ],
        ),
        "## Pictures per second",
        _table(
            (
                *("configuration", "px", "batch", "compiled", "graph", "pictures/s", "spread"),
                *("plain loop", "of the limit", "peak memory", "warm-up"),
            ),
            [_speed(it) for it in found["speeds"]],
        ),
        "## Study 1, extrapolated (training and validation, without judging)",
        _table(
            ("configuration", "px", "first epoch, s", "epoch, s", "60 epochs, minutes"),
            [
                (
                    *(it["configuration"], it["px"], f"{it['first_epoch_s']:.1f}"),
                    *(f"{it['epoch_s']:.2f}", f"{it['extrapolated_s'] / 60:.1f}"),
                )
                for it in found["study"]
            ],
        ),
        f"All three: {sum(it['extrapolated_s'] for it in found['study']) / 60:.1f} minutes.",
    ]
    if found["left_out"]:
        parts.append("Not measured, for want of time: " + "; ".join(found["left_out"]) + ".")
    return "\n\n".join(parts) + "\n"


def _speed(it: Mapping[str, Any]) -> tuple[object, ...]:
    plain = it.get("plain_pictures_per_second")
    ours = it["pictures_per_second"]
    least, most = it["spread"]
    return (
        *(it["configuration"], it["px"], it["batch"], it["compile"], it["graph"]),
        *(f"{ours:,.1f}", f"{least:,.1f} to {most:,.1f}"),
        "" if plain is None else f"{plain:,.1f} ({ours / plain:.2f}x)",
        *(f"{it['share_of_limit']:.0%}", f"{it['peak_memory_mb']:,.0f} MB"),
        f"{it['warm_up_s']:.0f} s",
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "Nothing was measured."
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
