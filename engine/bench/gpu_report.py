"""The result of `bench gpu`, and its report in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class GpuBenchResult:
    """Results of `bench gpu`. The names of the fields are keys of `gpu.json`.

    Attributes:
        machine: device, versions and peak arithmetic throughput.
        checks: one entry per check of a training step against the plain loop.
        speeds: one entry per measured configuration, picture size and batch size.
        study: one entry per configuration of study 1, with its extrapolated duration.
        left_out: descriptions of the checks and measurements that the time limit left out.
    """

    machine: dict[str, Any]
    checks: list[dict[str, Any]] = field(default_factory=list)
    speeds: list[dict[str, Any]] = field(default_factory=list)
    study: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def all_checks_passed(self) -> bool:
        """Whether every check passed."""
        return all(check["passed"] for check in self.checks)


def to_markdown(result: Mapping[str, Any]) -> str:
    """Renders the content of `gpu.json` as Markdown."""
    machine = result["machine"]
    total_s = sum(study["extrapolated_s"] for study in result["study"])
    parts = [
        f"# Training on {machine['device']}",
        f"torch {machine['torch']}, Python {machine['python']}; a matrix product in bf16 reaches "
        f"{machine['limit_tflops']:.3g} TFLOP/s.",
        "## Losses compared with the plain loop",
        _table(
            ("configuration", "variant", "largest relative difference", "limit", "passed"),
            [_check_row(check) for check in result["checks"]],
        ),
        "## Pictures per second",
        _table(
            (
                *("configuration", "px", "batch", "compiled", "graph", "pictures/s", "range"),
                *("plain loop", "share of peak arithmetic", "peak memory", "warm-up"),
            ),
            [_speed_row(speed) for speed in result["speeds"]],
        ),
        "## Study 1, extrapolated (training and validation, without evaluation)",
        _table(
            ("configuration", "px", "first epoch, s", "epoch, s", "60 epochs, minutes"),
            [_study_row(study) for study in result["study"]],
        ),
        f"All three: {total_s / 60:.1f} minutes.",
    ]
    if result["left_out"]:
        not_measured = "; ".join(result["left_out"])
        parts.append(f"Not measured before the time limit: {not_measured}.")
    return "\n\n".join(parts) + "\n"


def _check_row(check: Mapping[str, Any]) -> tuple[object, ...]:
    passed = "yes" if check["passed"] else f"NO {'; '.join(check['notes'])}"
    difference, limit = f"{check['error']:.1e}", f"{check['at_most']:g}"
    return check["configuration"], check["way"], difference, limit, passed


def _speed_row(speed: Mapping[str, Any]) -> tuple[object, ...]:
    plain = speed.get("plain_pictures_per_second")
    ours = speed["pictures_per_second"]
    slowest, fastest = speed["spread"]
    return (
        *(speed["configuration"], speed["px"], speed["batch"], speed["compile"], speed["graph"]),
        *(f"{ours:,.1f}", f"{slowest:,.1f} to {fastest:,.1f}"),
        "" if plain is None else f"{plain:,.1f} ({ours / plain:.2f}x)",
        *(f"{speed['share_of_limit']:.0%}", f"{speed['peak_memory_mb']:,.0f} MB"),
        f"{speed['warm_up_s']:.0f} s",
    )


def _study_row(study: Mapping[str, Any]) -> tuple[object, ...]:
    first_s, epoch_s = f"{study['first_epoch_s']:.1f}", f"{study['epoch_s']:.2f}"
    minutes = f"{study['extrapolated_s'] / 60:.1f}"
    return study["configuration"], study["px"], first_s, epoch_s, minutes


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "Nothing was measured."
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
