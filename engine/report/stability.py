"""Computes stability statistics of the loss curves of a run. Torch-free.

Study 1 computed these statistics from the epoch means of its 60 epochs, for the total losses, which
cannot be compared between recipes. This module applies the same formulas to every curve. A run is
divided into 60 equal parts, whatever its number of epochs; a curve consists of the mean of each
part.
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
MIN_CHANGE = 0.1  # the collapse ratio counts changes between parts that are larger than this
# The discriminator is saturated in a step if its accuracy is above the value in `WON_ABOVE`, or its
# loss is below the value in `WON_BELOW`.
WON_ABOVE = {"d_train_accuracy": 0.95}
WON_BELOW = {"d_loss": 1e-2}


def measure(curves: Mapping[str, Sequence[float]], saturation: float | None) -> RunStability:
    """Computes the stability statistics of a run.

    Args:
        curves: name -> the means of at most `MAX_PARTS` equal parts of the run.
        saturation: the share of recorded steps with a saturated discriminator; None if no step was
            recorded.
    """
    n_parts = len(curves.get("g_loss", ()))
    finals = {name: curve[-1] for name, curve in curves.items() if len(curve)}
    if n_parts < TREND_WINDOW:
        reason = f"{n_parts} of {MAX_PARTS} parts of the run recorded; a trend needs {TREND_WINDOW}"
        return RunStability(n_parts, {}, finals, None, saturation, reason)
    statistics = {
        name: curve_stability(curve) for name, curve in curves.items() if len(curve) >= TREND_WINDOW
    }
    ratio = collapse_ratio(curves["g_loss"], curves["d_loss"]) if curves.get("d_loss") else None
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
    """Returns the share of changes between parts at which g_loss rises and d_loss falls.

    Both curves are smoothed, and changes of up to `MIN_CHANGE` do not count.
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
