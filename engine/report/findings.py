"""A comparison -> plain sentences that follow from its statistics, and what it cannot tell.

No sentence claims a difference that the test behind it does not show. Names of configurations and
commands stand between backticks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.metrics.catalog import CATALOG
from engine.records.comparison import Comparison, Contrast, Row

Kind = Literal["difference", "same", "colour", "cost", "caution"]

KERNELS = ("kid", "kd_lite2")  # the first that was measured speaks for the distances
TOLD = ("psnr", "ssim", "delta_e", "ab_divergence")
COLOUR_SHARE = 0.1  # of the targets' colourfulness: what is further off is said
SLOWER = 1.15  # times as long: what is less may be the machine
SATURATED, COLLAPSED, LOPSIDED = 0.95, 0.5, 0.6


@dataclass(frozen=True)
class Finding:
    """One sentence, and what it is about."""

    kind: Kind
    text: str


def findings(comparison: Comparison) -> list[Finding]:
    """What the table says, in the order in which it is worth reading: first what voids the rest."""
    if comparison.is_empty:
        return []
    found = [Finding("caution", text) for text in _collapsed(comparison)]
    found += _differences(comparison)
    found += [Finding("colour", text) for text in _colours(comparison)]
    found += [Finding("cost", text) for text in _costs(comparison)]
    for about in (_about_seeds, _about_discriminators, _about_judges):
        found += [Finding("caution", text) for text in about(comparison)]
    return found


def _differences(comparison: Comparison) -> Iterator[Finding]:
    kernel = _kernel(comparison)
    same, untested = [], []
    for name in ([kernel] if kernel else []) + list(TOLD):
        n = len(comparison.column(name))
        pairs = n * (n - 1) // 2
        tested = [it for it in comparison.contrasts if it.metric == name]
        clear = [it for it in tested if it.is_clear]
        if clear:
            rest = "" if len(clear) == pairs else " No other pair is shown to differ."
            yield Finding("difference", "; ".join(_clear_sentences(name, clear)) + "." + rest)
        elif tested and len(tested) == pairs:
            widest = max(max(it.high - it.mean, it.mean - it.low) for it in tested)
            same.append(f"{_label(name)} (below about {CATALOG[name].format(widest)}{_unit(name)})")
        if tested and len(tested) < pairs:
            untested.append(f"{pairs - len(tested)} of {pairs} in {_label(name)}")
    if same:
        yield Finding(
            "same",
            f"No difference is beyond the noise in {_listed(same)}; smaller ones than in brackets "
            "would not show.",
        )
    if untested:
        yield Finding("caution", f"Pairs that could not be tested: {_listed(untested)}.")


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
        yield f"`{winner}` has a {word} {_label(name)} than {versus}"


def _colours(comparison: Comparison) -> Iterator[str]:
    cells = comparison.column("colorfulness")
    shown = {name: cell.value or 0.0 for name, cell in cells.items()}
    targets = next((it.reference for it in cells.values() if it.reference), None)
    if targets is None:
        return
    metric = CATALOG["colorfulness"]

    def off(name: str) -> float:
        return abs(shown[name] - targets)

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
            f"`{nearer}` is nearer to the targets in features than {others} but "
            f"{_paler(shown[nearer], targets)}: colourfulness "
            f"{metric.format(shown[nearer])} against the targets' {metric.format(targets)} "
            f"({others}: {theirs}). Look at the pictures before trusting the distance."
        )
    values = sorted(shown.values())
    if values[-1] < (1 - COLOUR_SHARE) * targets or values[0] > (1 + COLOUR_SHARE) * targets:
        span = " to ".join(dict.fromkeys(metric.format(it) for it in (values[0], values[-1])))
        who = "Every configuration" if len(values) > 1 else f"`{next(iter(shown))}`"
        yield (
            f"{who} is {_paler(values[0], targets)} than the targets: colourfulness {span} "
            f"against {metric.format(targets)}."
        )


def _costs(comparison: Comparison) -> Iterator[str]:
    cells = comparison.column("images_per_second")
    speeds = {name: cell.value for name, cell in cells.items() if cell.value}
    if len(speeds) > 1:
        fastest = max(speeds, key=lambda name: speeds[name])
        for name, speed in speeds.items():
            mine, best = cells[name].by_seed.values(), cells[fastest].by_seed.values()
            if speeds[fastest] <= SLOWER * speed:
                continue
            if max(mine) >= min(best):
                yield (
                    f"Whether `{name}` trains more slowly than `{fastest}` cannot be told: single "
                    f"runs made {min(mine):,.0f} to {max(mine):,.0f} and {min(best):,.0f} to "
                    f"{max(best):,.0f} pictures/s."
                )
                continue
            alone = ", one run each" if len(mine) == len(best) == 1 else ""
            yield (
                f"`{name}` takes {speeds[fastest] / speed:.1f} times the training time per picture "
                f"of `{fastest}` ({speed:,.0f} against {speeds[fastest]:,.0f} pictures/s{alone})."
            )
    if len(comparison.column("inference_ms")) > 1:
        yield (
            "All configurations share one generator, so using them costs the same by construction: "
            "differences in inference time are the machine's."
        )


def _collapsed(comparison: Comparison) -> Iterator[str]:
    """Configurations whose pictures are all alike."""
    cells = comparison.column("diversity")
    found = {name: cell.value or 0.0 for name, cell in cells.items()}
    found = {name: value for name, value in found.items() if value < COLLAPSED}
    if not found:
        return
    who = _listed([f"`{name}`" for name in found])
    span = dict.fromkeys(f"{it:.2f}" for it in (min(found.values()), max(found.values())))
    yield (
        f"The pictures of {who} vary {' to '.join(span)} times as much as their targets: "
        "collapsed, or training cut short. Other figures of them say little."
    )


def _about_seeds(comparison: Comparison) -> Iterator[str]:
    seeds = {row.configuration: row.seeds for row in comparison.rows if row.seeds}
    if seeds and max(seeds.values()) == 1:
        yield (
            "One seed each: the intervals are over pictures and speak of these weights only. "
            "Whether another training would come out the same, one seed cannot tell; three or more "
            "can."
        )
        return
    few = [f"`{name}`" for name, count in seeds.items() if count < 2]
    if few:
        yield f"{_listed(few)} has a single seed: nothing can be said of how far it is luck."
    if any(it.n == 2 for it in comparison.contrasts):
        yield (
            "Where pairs share two seeds only, one degree of freedom is left: just very large "
            "differences can show."
        )


def _about_discriminators(comparison: Comparison) -> Iterator[str]:
    for row in comparison.rows:
        real, fake, both = (
            row.cells[name].value for name in ("d_real_accuracy", "d_fake_accuracy", "d_accuracy")
        )
        if real is None or fake is None or both is None:
            continue
        if both > SATURATED:
            yield (
                f"`{row.configuration}`'s discriminator judges {100 * both:.0f} % of all patches "
                "rightly: it has won, and its generator learns little from it."
            )
        elif abs(real - fake) > LOPSIDED:
            says = "true" if real > fake else "false"
            yield (
                f"`{row.configuration}`'s discriminator calls nearly everything {says}: it is "
                f"right about {100 * real:.0f} % of the targets' patches and {100 * fake:.0f} % of "
                "the fakes', and no longer guides its generator."
            )


def _about_judges(comparison: Comparison) -> Iterator[str]:
    for row in comparison.rows:
        marks = {
            it
            for name in ("fid", *KERNELS, "fd_lite2")
            for it in (row.cells[name].mark or "").split("; ")
            if "trained against" in it
        }
        for mark in sorted(marks):
            yield f"`{row.configuration}` was {mark}, which may flatter its distances."
    for row, name, why in _incomparable(comparison):
        yield f"`{row.configuration}` is not compared in {_label(name)}: {why}."
    if reason := _shared_reason(comparison, "fid"):
        yield f"No FID: {reason}."
    biased = next(
        (
            cell
            for row in comparison.rows
            for name in ("fid", "fd_lite2")
            if "biased upward" in ((cell := row.cells[name]).mark or "")
        ),
        None,
    )
    if biased is not None:
        yield (
            f"Fréchet distances from {biased.n_pictures} pictures are biased upward: they hold "
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
    """The kernel distance that most configurations have, KID of equals."""
    counts = {name: len(comparison.column(name)) for name in KERNELS}
    most = max(counts, key=lambda name: counts[name])
    return most if counts[most] else None


def _listed(parts: Sequence[str]) -> str:
    """Words in a row: a, b and c."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _paler(value: float, targets: float) -> str:
    return "paler" if value < targets else "more garish"


def _label(name: str) -> str:
    label = CATALOG[name].label
    spoken = {"kid": "kernel distance (KID)", "kd_lite2": "kernel distance (Lite2)"}
    keep = label.isupper() or label.startswith("Δ")
    return spoken.get(name, label if keep else label[0].lower() + label[1:])


def _unit(name: str) -> str:
    unit = CATALOG[name].unit
    return f" {unit}" if unit else ""
