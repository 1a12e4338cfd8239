"""Computes stability statistics of the loss curves of a run. Torch-free.

Study 1 computed these statistics from 60 epoch means of the total losses, which differ between
recipes. Here the same formulas are applied to each loss term, so that a term can be compared
between recipes. A curve consists of the means of at most 60 equal parts of the run, so that runs
with few epochs have statistics too.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.records.comparison import CurveStability, RunStability

Curve = NDArray[np.float64]

MAX_PARTS = 60  # the number of epochs in study 1
VARIANCE_WINDOW = 10
# Windows and degree of the Savitzky-Golay filter.
TREND_WINDOW, SHORT_TREND_WINDOW, TREND_DEGREE = 21, 11, 3
MIN_CHANGE = 0.1  # smaller changes of a loss from part to part do not count as a collapse
# The discriminator has won a step if the share of correctly classified patches is above the first
# value, or the loss of the discriminator is below the second value.
WON_ABOVE = {"d_train_accuracy": 0.95}
WON_BELOW = {"d_loss": 1e-2}


def measure(curves: Mapping[str, Sequence[float]], saturation: float | None) -> RunStability:
    """Computes the stability statistics of a run.

    Args:
        curves: name -> the means of at most `MAX_PARTS` equal parts of the run.
        saturation: the share of the run's steps that the discriminator has won.
    """
    n_parts = len(curves.get("g_loss", ()))
    finals = {name: curve[-1] for name, curve in curves.items() if len(curve)}
    if n_parts < TREND_WINDOW:
        reason = f"{n_parts} recorded steps; a trend needs at least {TREND_WINDOW}"
        return RunStability(n_parts, {}, finals, None, saturation, reason)
    statistics = {
        name: curve_stability(curve) for name, curve in curves.items() if len(curve) >= TREND_WINDOW
    }
    ratio = collapse_ratio(curves["g_loss"], curves["d_loss"])
    return RunStability(n_parts, statistics, finals, ratio, saturation)


def curve_stability(values: ArrayLike) -> CurveStability:
    """Computes study 1's statistics of a curve of at least `TREND_WINDOW` values."""
    curve = np.asarray(values, dtype=np.float64)
    trend = _trend(curve, TREND_WINDOW)
    tenth = max(1, len(curve) // 10)
    return CurveStability(
        variance=windowed_variance(curve),
        convergence_rate=abs(float(np.polyfit(np.arange(len(trend)), trend, 1)[0])),
        oscillation=float((curve - trend).std()),
        improvement=float(curve[:tenth].mean() - curve[-tenth:].mean()),
        final=float(curve[-1]),
    )


def windowed_variance(values: ArrayLike) -> float:
    """Averages the population variances of all windows of `VARIANCE_WINDOW` values."""
    curve = np.asarray(values, np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(curve, VARIANCE_WINDOW)
    return float(windows.var(axis=1).mean())


def collapse_ratio(g_loss: ArrayLike, d_loss: ArrayLike) -> float:
    """Returns the share of parts in which the smoothed g_loss rises and the smoothed d_loss falls.

    Changes of up to `MIN_CHANGE` do not count.
    """
    g_change, d_change = (
        np.diff(_trend(np.asarray(curve, np.float64), SHORT_TREND_WINDOW))
        for curve in (g_loss, d_loss)
    )
    return float(np.mean((g_change > MIN_CHANGE) & (d_change < -MIN_CHANGE)))


def _trend(curve: Curve, window: int) -> Curve:
    """Smooths a curve by cubics fitted to windows of odd length (Savitzky and Golay 1964)."""
    from scipy.signal import savgol_filter  # this import takes 0.8 s; most pages do not need it

    smoothed: Curve = savgol_filter(curve, window, TREND_DEGREE)
    return smoothed
