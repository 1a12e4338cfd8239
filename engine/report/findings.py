"""Derives sentences from a comparison: its significant differences and its limits.

A difference in quality is stated only if its test is significant. Training speeds and
colourfulness gaps are not tested: a finding states them if they exceed `MIN_SLOWDOWN` or
`MIN_COLOUR_GAP`. Names of configurations and commands are in backticks.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.metrics.catalog import CATALOG, FINDING_METRICS, KERNEL_METRICS
from engine.records.comparison import Comparison, Contrast, Row
from engine.records.runs import Run, RunState
from engine.report.comparison import NOT_EVALUATED, READS_WITH, TRAINED_AGAINST

Kind = Literal["difference", "same", "colour", "cost", "caution"]

MIN_COLOUR_GAP = 0.1  # share of the targets' colourfulness; smaller gaps are not reported
MIN_SLOWDOWN = 1.15  # smaller ratios of training times may be caused by the machine
# Reported as a problem: a discriminator accuracy above the first limit, a difference between the
# accuracies on targets and fakes above the second, and a diversity below the third.
MAX_D_ACCURACY, MAX_D_ACCURACY_GAP, MIN_DIVERSITY = 0.95, 0.6, 0.5


@dataclass(frozen=True)
class Finding:
    """The text of a finding (one or more sentences) and its kind."""

    kind: Kind
    text: str


def build_findings(comparison: Comparison) -> list[Finding]:
    """Builds the findings in order of importance; problems that invalidate others come first."""
    if comparison.is_empty:
        return []
    findings = [Finding("caution", text) for text in _collapse(comparison)]
    findings += _differences(comparison)
    findings += [Finding("colour", text) for text in _colours(comparison)]
    findings += [Finding("cost", text) for text in _costs(comparison)]
    for limits in (_seed_limits, _discriminator_limits, _metric_limits):
        findings += [Finding("caution", text) for text in limits(comparison)]
    return findings


def missing_findings_sentence(runs: Sequence[Run]) -> str:
    """Tells why there are no findings about the runs of a study."""
    if not any(run.is_over for run in runs):
        return "No run has ended yet."
    if any(run.state == RunState.DONE for run in runs):
        return "There are no findings."
    counts = Counter(run.state for run in runs)
    states = ", ".join(f"{counts[state]} {state}" for state in RunState if state in counts)
    return f"No run is done: {states}."


def _differences(comparison: Comparison) -> Iterator[Finding]:
    """Yields findings on significant differences, metrics without any, and untested pairs."""
    kernel = _kernel_metric(comparison)
    without_difference, untested = [], []
    for name in ([kernel] if kernel else []) + list(FINDING_METRICS):
        n = len(comparison.column(name))
        n_pairs = n * (n - 1) // 2
        tested = [contrast for contrast in comparison.contrasts if contrast.metric == name]
        clear = [contrast for contrast in tested if contrast.is_significant]
        if clear:
            is_all = len(clear) == n_pairs
            others = "" if is_all else " No other difference is significant."
            yield Finding("difference", "; ".join(_clear_sentences(name, clear)) + "." + others)
        elif tested and len(tested) == n_pairs:
            half_width = max(max(each.high - each.mean, each.mean - each.low) for each in tested)
            detectable = f"{CATALOG[name].format(half_width)}{_unit(name)}"
            without_difference.append(
                f"{_label(name)} (smallest detectable difference: about {detectable})"
            )
        if tested and len(tested) < n_pairs:
            untested.append(f"{n_pairs - len(tested)} of {n_pairs} in {_label(name)}")
    if without_difference:
        yield Finding("same", f"No significant difference in {_listed(without_difference)}.")
    if untested:
        yield Finding("caution", f"Pairs that could not be tested: {_listed(untested)}.")


def _clear_sentences(name: str, clear: Sequence[Contrast]) -> Iterator[str]:
    """Yields a sentence per better configuration with its significant differences in a metric."""
    metric = CATALOG[name]
    comparative = "higher" if metric.better == "up" else "lower"
    by_winner: dict[str, list[tuple[str, float, float, float]]] = {}
    for each in clear:
        if (each.mean > 0) == (metric.better == "up"):
            by_winner.setdefault(each.one, []).append((each.other, each.mean, each.low, each.high))
        else:
            flipped = (each.one, -each.mean, -each.high, -each.low)
            by_winner.setdefault(each.other, []).append(flipped)
    for winner, losers in by_winner.items():
        differences = " and ".join(
            f"`{loser}` ({metric.format_difference(mean, low, high)}{_unit(name)}, 95 % "
            f"{metric.format_difference(low, high)} to {metric.format_difference(high, low)})"
            for loser, mean, low, high in losers
        )
        yield f"`{winner}` has a {comparative} {_label(name)} than {differences}"


def _colours(comparison: Comparison) -> Iterator[str]:
    """Yields sentences on colourfulness, if the colourfulness of the targets was measured."""
    cells = comparison.column("colorfulness")
    target = next((cell.reference for cell in cells.values() if cell.reference), None)
    if target is None:
        return
    values = {name: cell.value or 0.0 for name, cell in cells.items()}
    yield from _colour_conflicts(comparison, values, target)
    yield from _colours_of_all(values, target)


def _colour_conflicts(
    comparison: Comparison, values: Mapping[str, float], target: float
) -> Iterator[str]:
    """Yields a sentence per configuration with a lower kernel distance but less suitable colours.

    Such a configuration is significantly better than another in the kernel distance, but its
    colourfulness is farther from the colourfulness of the targets.

    Args:
        comparison: the comparison.
        values: configuration -> colourfulness.
        target: the colourfulness of the targets.
    """
    metric, kernel = CATALOG["colorfulness"], _kernel_metric(comparison)
    gaps = {name: abs(value - target) for name, value in values.items()}
    by_winner: dict[str, list[str]] = {}
    for each in comparison.contrasts:
        if each.metric != kernel or not each.is_significant:
            continue
        winner, loser = (each.one, each.other) if each.mean < 0 else (each.other, each.one)
        if winner not in gaps or loser not in gaps:
            continue
        if gaps[winner] > gaps[loser] + MIN_COLOUR_GAP * target:
            by_winner.setdefault(winner, []).append(loser)
    for winner, losers in by_winner.items():
        others = " and ".join(f"`{name}`" for name in losers)
        others_values = " and ".join(metric.format(values[name]) for name in losers)
        yield (
            f"`{winner}` is nearer to the targets in features than {others}, but "
            f"{_less_or_more_colourful(values[winner], target)} than the targets: its "
            f"colourfulness is {metric.format(values[winner])}, that of the targets "
            f"{metric.format(target)} ({others}: {others_values}). Compare the pictures before "
            "trusting the distance."
        )


def _colours_of_all(values: Mapping[str, float], target: float) -> Iterator[str]:
    """Yields a sentence if all configurations are less (or all more) colourful than the targets."""
    metric = CATALOG["colorfulness"]
    least, most = min(values.values()), max(values.values())
    if most < (1 - MIN_COLOUR_GAP) * target or least > (1 + MIN_COLOUR_GAP) * target:
        span = " to ".join(dict.fromkeys(metric.format(value) for value in (least, most)))
        subject = "Every configuration" if len(values) > 1 else f"`{next(iter(values))}`"
        yield (
            f"{subject} is {_less_or_more_colourful(least, target)} than the targets: "
            f"colourfulness {span}, targets {metric.format(target)}."
        )


def _costs(comparison: Comparison) -> Iterator[str]:
    """Yields sentences on the training speeds and on the inference cost."""
    cells = comparison.column("images_per_second")
    speeds = {name: cell.value for name, cell in cells.items() if cell.value}
    if len(speeds) > 1:
        fastest = max(speeds, key=lambda name: speeds[name])
        fastest_runs = cells[fastest].by_seed.values()
        for name, speed in speeds.items():
            runs = cells[name].by_seed.values()
            if speeds[fastest] <= MIN_SLOWDOWN * speed:
                continue
            if max(runs) >= min(fastest_runs):
                yield (
                    f"The training speeds of `{name}` and `{fastest}` overlap: single runs reached "
                    f"{min(runs):,.0f} to {max(runs):,.0f} and {min(fastest_runs):,.0f} to "
                    f"{max(fastest_runs):,.0f} pictures/s."
                )
                continue
            n_runs = ", one run each" if len(runs) == len(fastest_runs) == 1 else ""
            yield (
                f"`{name}` takes {speeds[fastest] / speed:.1f} times the training time per picture "
                f"of `{fastest}` ({speed:,.0f} instead of {speeds[fastest]:,.0f} pictures/s"
                f"{n_runs})."
            )
    measured = {name: cell.value for name, cell in comparison.column("inference_ms").items()}
    generators = {row.configuration: row.generator for row in comparison.rows}
    yield from _inference_costs(
        {name: value for name, value in measured.items() if value is not None}, generators
    )


def _inference_costs(
    milliseconds: Mapping[str, float], generators: Mapping[str, str]
) -> Iterator[str]:
    """Yields a sentence on equal or different inference costs.

    Args:
        milliseconds: configuration -> inference time of a picture.
        generators: configuration -> design of the generator.
    """
    if len(milliseconds) < 2:
        return
    if len({generators[name] for name in milliseconds}) == 1:
        yield (
            "All configurations have the same generator, so their inference costs are equal by "
            "construction. Differences in the inference time are caused by the machine."
        )
        return
    slowest = max(milliseconds, key=lambda name: milliseconds[name])
    fastest = min(milliseconds, key=lambda name: milliseconds[name])
    if generators[slowest] != generators[fastest]:
        yield (
            f"`{slowest}` has another generator than `{fastest}`: one picture takes "
            f"{milliseconds[slowest]:.1f} ms instead of {milliseconds[fastest]:.1f} ms."
        )


def _collapse(comparison: Comparison) -> Iterator[str]:
    """Yields a sentence on the configurations whose fakes vary much less than the targets."""
    cells = comparison.column("diversity")
    values = {name: cell.value or 0.0 for name, cell in cells.items()}
    collapsed = {name: value for name, value in values.items() if value < MIN_DIVERSITY}
    if not collapsed:
        return
    names = _listed([f"`{name}`" for name in collapsed])
    ends = min(collapsed.values()), max(collapsed.values())
    span = " to ".join(dict.fromkeys(f"{value:.2f}" for value in ends))
    yield (
        f"The pictures of {names} vary {span} times as much as their targets: the generator has "
        "collapsed, or the training was too short. Other metrics have little meaning then."
    )


def _seed_limits(comparison: Comparison) -> Iterator[str]:
    """Yields sentences on conclusions that are impossible because of too few seeds."""
    seeds = {row.configuration: row.seeds for row in comparison.rows if row.seeds}
    if seeds and max(seeds.values()) == 1:
        yield (
            "Every configuration has one seed: the intervals are over pictures and hold for these "
            "weights only. Three or more seeds show how much another training would differ."
        )
        return
    single = [f"`{name}`" for name, n_seeds in seeds.items() if n_seeds < 2]
    if single:
        verb = "has" if len(single) == 1 else "have"
        yield f"{_listed(single)} {verb} a single seed, so the influence of chance is unknown."
    if any(contrast.n == 2 for contrast in comparison.contrasts):
        yield (
            "Some pairs share two seeds only. Their tests have one degree of freedom, so only very "
            "large differences can be significant."
        )


def _discriminator_limits(comparison: Comparison) -> Iterator[str]:
    """Yields a sentence per discriminator that is nearly always right, or prefers one class."""
    for row in comparison.rows:
        real, fake, both = (
            row.cells[name].value for name in ("d_real_accuracy", "d_fake_accuracy", "d_accuracy")
        )
        if real is None or fake is None or both is None:
            continue
        if both > MAX_D_ACCURACY:
            yield (
                f"The discriminator of `{row.configuration}` classifies {100 * both:.0f} % of all "
                "patches correctly, so the generator learns little from it."
            )
        elif abs(real - fake) > MAX_D_ACCURACY_GAP:
            answer = "real" if real > fake else "fake"
            yield (
                f"The discriminator of `{row.configuration}` classifies nearly all patches as "
                f"{answer}: it is right on {100 * real:.0f} % of the targets' patches and on "
                f"{100 * fake:.0f} % of the fakes' patches. It no longer guides the generator."
            )


def _metric_limits(comparison: Comparison) -> Iterator[str]:
    """Yields sentences on metrics that are unfair, not comparable, missing or biased."""
    for row in comparison.rows:
        remarks = {
            remark
            for name in ("fid", *KERNEL_METRICS, "fd_lite2")
            for remark in (row.cells[name].mark or "").split("; ")
            if TRAINED_AGAINST in remark or READS_WITH in remark
        }
        for remark in sorted(remarks):
            verb = "was " if TRAINED_AGAINST in remark else ""
            yield f"`{row.configuration}` {verb}{remark}; this may lower its distances."
    for row, name, reason in _incomparable(comparison):
        yield f"`{row.configuration}` is not compared in {_label(name)}: {reason}."
    if missing := _shared_missing_reason(comparison, "fid"):
        yield f"No FID: {missing}."
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
            f"Fréchet distances of {biased.n_pictures} pictures are biased upward: compare them "
            "within this table only. The kernel distance is unbiased."
        )


def _incomparable(comparison: Comparison) -> Iterator[tuple[Row, str, str]]:
    """Yields (row, metric, reason) of values that must not be compared, once per reason and row."""
    for row in comparison.rows:
        reasons = set()
        for name, cell in row.cells.items():
            if cell.incomparable and cell.incomparable not in reasons:
                reasons.add(cell.incomparable)
                yield row, name, cell.incomparable


def _shared_missing_reason(comparison: Comparison, name: str) -> str | None:
    """Returns the reason why no configuration has a value of a metric.

    Returns None if a configuration has a value, or if no reason is recorded.
    """
    if any(row.cells[name].value is not None for row in comparison.rows):
        return None
    reasons = (row.cells[name].missing for row in comparison.rows)
    return next((reason for reason in reasons if reason and reason != NOT_EVALUATED), None)


def _kernel_metric(comparison: Comparison) -> str | None:
    """Returns the kernel distance that most configurations have; KID if the counts are equal.

    Returns None if no configuration has a kernel distance.
    """
    counts = {name: len(comparison.column(name)) for name in KERNEL_METRICS}
    most = max(counts, key=lambda name: counts[name])
    return most if counts[most] else None


def _listed(parts: Sequence[str]) -> str:
    """Joins words to a list in a sentence: `a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _less_or_more_colourful(value: float, target: float) -> str:
    return "less colourful" if value < target else "more colourful"


def _label(name: str) -> str:
    """Returns a metric's label for use in a sentence, such as `kernel distance (KID)`."""
    label = CATALOG[name].label
    in_sentence = {"kid": "kernel distance (KID)", "kd_lite2": "kernel distance (Lite2)"}
    is_symbol = label.isupper() or label.startswith("Δ")
    return in_sentence.get(name, label if is_symbol else label[0].lower() + label[1:])


def _unit(name: str) -> str:
    unit = CATALOG[name].unit
    return f" {unit}" if unit else ""
