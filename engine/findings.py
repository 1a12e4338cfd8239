"""A comparison -> plain sentences that follow from its statistics, and what it cannot tell.

No sentence claims a difference that the test behind it does not show. Names of configurations and
commands stand between backticks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.metrics.catalog import CATALOG
from engine.records import Comparison, Contrast, Row

Kind = Literal["difference", "same", "colour", "cost", "caution"]

KERNELS = ("kid", "kd_lite2")  # the first that was measured speaks for the distances
TOLD = ("psnr", "ssim", "delta_e", "ab_divergence")
COLOUR_SHARE = 0.1  # of the targets' colourfulness: what is further off is said
SLOWER = 1.15  # times as long: what is less may be the machine
SATURATED, COLLAPSED = 0.95, 0.5


@dataclass(frozen=True)
class Finding:
    """One sentence, and what it is about."""

    kind: Kind
    text: str


def findings(comparison: Comparison) -> list[Finding]:
    """What the table says, in the order in which it is worth reading."""
    if comparison.is_empty:
        return []
    found = list(_differences(comparison))
    found += [Finding("colour", text) for text in _colours(comparison)]
    found += [Finding("cost", text) for text in _costs(comparison)]
    found += [Finding("caution", text) for text in _cautions(comparison)]
    return found


def _differences(comparison: Comparison) -> Iterator[Finding]:
    kernel = _kernel(comparison)
    for name in ([kernel] if kernel else []) + list(TOLD):
        tested = [it for it in comparison.contrasts if it.metric == name]
        clear = [it for it in tested if it.is_clear]
        if not tested:
            continue
        label = _label(name)
        if not clear:
            yield Finding("same", f"No difference in {label} beyond the noise.")
            continue
        rest = (
            "" if len(clear) == len(tested) else " The other pairs do not differ beyond the noise."
        )
        yield Finding("difference", "; ".join(_clear_sentences(name, clear)) + "." + rest)


def _clear_sentences(name: str, clear: Sequence[Contrast]) -> Iterator[str]:
    """Who is better than whom in one metric, winner by winner."""
    metric = CATALOG[name]
    word = "higher" if metric.better == "up" else "lower"
    winners: dict[str, list[tuple[str, float, float, float]]] = {}
    for it in clear:
        if (it.mean > 0) == (metric.better == "up"):
            winners.setdefault(it.one, []).append((it.other, it.mean, it.low, it.high))
        else:
            winners.setdefault(it.other, []).append((it.one, -it.mean, -it.high, -it.low))
    for winner, beaten in winners.items():
        versus = " and ".join(
            f"`{loser}` ({metric.format_difference(mean, low, high)}{_unit(name)}, 95 % "
            f"{metric.format_difference(low, high)} to {metric.format_difference(high, low)})"
            for loser, mean, low, high in beaten
        )
        yield f"`{winner}` has the {word} {_label(name)} than {versus}"


def _colours(comparison: Comparison) -> Iterator[str]:
    rows = {row.configuration: row for row in comparison.rows}
    shown = {
        name: row.cells["colorfulness"].value
        for name, row in rows.items()
        if row.cells["colorfulness"].value is not None
    }
    targets = next(
        (
            it.cells["colorfulness"].reference
            for it in rows.values()
            if it.cells["colorfulness"].reference
        ),
        None,
    )
    if targets is None or not shown:
        return
    metric = CATALOG["colorfulness"]

    def off(name: str) -> float:
        return abs((shown[name] or 0.0) - targets)

    kernel = _kernel(comparison)
    misled: dict[str, list[str]] = {}
    for it in comparison.contrasts:
        if it.metric == kernel and it.is_clear:
            nearer, further = (it.one, it.other) if it.mean < 0 else (it.other, it.one)
            known = nearer in shown and further in shown
            if known and off(nearer) > off(further) + COLOUR_SHARE * targets:
                misled.setdefault(nearer, []).append(further)
    for nearer, beaten in misled.items():
        others = " and ".join(f"`{name}`" for name in beaten)
        theirs = " and ".join(metric.format(shown[name]) for name in beaten)
        yield (
            f"`{nearer}` is nearer in features than {others} but "
            f"{_paler(shown[nearer] or 0.0, targets)}: colourfulness "
            f"{metric.format(shown[nearer])} against the targets' {metric.format(targets)} "
            f"({others}: {theirs}). Look at the pictures before trusting the distance."
        )
    values = sorted(value for value in shown.values() if value is not None)
    if values[-1] < (1 - COLOUR_SHARE) * targets or values[0] > (1 + COLOUR_SHARE) * targets:
        span = " to ".join(dict.fromkeys(metric.format(it) for it in (values[0], values[-1])))
        who = "Every configuration" if len(values) > 1 else f"`{next(iter(shown))}`"
        yield (
            f"{who} is {_paler(values[0], targets)} than the targets: colourfulness {span} "
            f"against {metric.format(targets)}."
        )


def _costs(comparison: Comparison) -> Iterator[str]:
    speeds = {
        row.configuration: value
        for row in comparison.rows
        if (value := row.cells["images_per_second"].value)
    }
    if len(speeds) < 2:
        return
    fastest = max(speeds, key=lambda name: speeds[name])
    for name, speed in speeds.items():
        if speeds[fastest] > SLOWER * speed:
            yield (
                f"`{name}` takes {speeds[fastest] / speed:.1f} times the training time per picture "
                f"of `{fastest}` ({speed:,.0f} against {speeds[fastest]:,.0f} pictures/s)."
            )
    if all(row.cells["inference_ms"].value for row in comparison.rows):
        yield (
            "All configurations share one generator, so using them costs the same by construction: "
            "differences in inference time are the machine's."
        )


def _cautions(comparison: Comparison) -> Iterator[str]:
    yield from _about_seeds(comparison)
    yield from _about_training(comparison)
    yield from _about_judges(comparison)


def _about_seeds(comparison: Comparison) -> Iterator[str]:
    seeds = [row.seeds for row in comparison.rows if row.seeds]
    if seeds and max(seeds) == 1:
        yield (
            "One seed each: the intervals are over pictures and speak of these weights only. "
            "Whether another training would come out the same, one seed cannot tell; three or more "
            "can."
        )
    elif seeds and min(seeds) == 2:
        yield "Two seeds leave one degree of freedom: only very large differences can show."


def _about_training(comparison: Comparison) -> Iterator[str]:
    for row in comparison.rows:
        diversity, accuracy = row.cells["diversity"].value, row.cells["d_accuracy"].value
        if diversity is not None and diversity < COLLAPSED:
            yield (
                f"`{row.configuration}`'s pictures differ only {diversity:.2f} times as much among "
                "each other as their targets do: a sign of collapse, or of training cut short."
            )
        if accuracy is not None and accuracy > SATURATED:
            yield (
                f"`{row.configuration}`'s discriminator is right about {accuracy:.0%} of all "
                "patches: it has won, and its generator learns little from it."
            )


def _about_judges(comparison: Comparison) -> Iterator[str]:
    for name in ("fid", *KERNELS, "fd_lite2"):
        marked = [
            row.configuration
            for row in comparison.rows
            if "trained against" in (row.cells[name].mark or "")
        ]
        if marked:
            names = ", ".join(f"`{it}`" for it in marked)
            yield f"{names} trained against the network behind {_label(name)}, which flatters it."
    for row, name, why in _incomparable(comparison):
        yield f"`{row.configuration}` is not compared in {_label(name)}: {why}."
    if reason := _shared_reason(comparison, "fid"):
        yield f"No FID: {reason}. Other distances are not FID and are not called so."
    biased = [
        cell
        for row in comparison.rows
        for name in ("fid", "fd_lite2")
        if "biased upward" in ((cell := row.cells[name]).mark or "")
    ]
    if biased:
        yield (
            f"Frechet distances from {biased[0].n_pictures} pictures are biased upward: they hold "
            "within this table only. The kernel distance is unbiased."
        )


def _incomparable(comparison: Comparison) -> Iterator[tuple[Row, str, str]]:
    """Each reason once for a configuration, though many metrics share it."""
    for row in comparison.rows:
        said = set()
        for name, cell in row.cells.items():
            if cell.incomparable and cell.incomparable not in said:
                said.add(cell.incomparable)
                yield row, name, cell.incomparable


def _shared_reason(comparison: Comparison, name: str) -> str | None:
    """Why no configuration has a metric; None where one has it."""
    if any(row.cells[name].value is not None for row in comparison.rows):
        return None
    known = (row.cells[name].missing for row in comparison.rows)
    return next((it for it in known if it and it != "not evaluated yet"), None)


def _kernel(comparison: Comparison) -> str | None:
    """The kernel distance that was measured."""
    for name in KERNELS:
        if any(row.cells[name].value is not None for row in comparison.rows):
            return name
    return None


def _paler(value: float, targets: float) -> str:
    return "paler" if value < targets else "more garish"


def _label(name: str) -> str:
    label = CATALOG[name].label
    spoken = {"kid": "kernel distance (KID)", "kd_lite2": "kernel distance (Lite2)"}
    return spoken.get(name, label if label.isupper() else label[0].lower() + label[1:])


def _unit(name: str) -> str:
    unit = CATALOG[name].unit
    return f" {unit}" if unit else ""
