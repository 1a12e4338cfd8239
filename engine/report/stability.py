"""How steadily a run trained: figures of its loss curves, each with one definition. Torch-free.

Study 1 measured stability on 60 epoch means of the total losses, which differ between recipes. The
same formulas are used here on every term by itself, so that a term can be compared wherever it
occurs, and on curves of at most 60 equal parts of the run, so that short runs have them too.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.records.comparison import CurveStability, RunStability

Curve = NDArray[np.float64]

PARTS = 60  # study 1 had as many epochs
WINDOW = 10  # parts over which a variance is taken
TREND, SHORT_TREND, ORDER = 21, 11, 3  # Savitzky-Golay windows and degree
RISE = 0.1  # of the generator's loss in a part, while the discriminator's falls by as much
WON_ABOVE = {"d_train_accuracy": 0.95}  # a step whose discriminator is right about so many patches
WON_BELOW = {"d_loss": 1e-2}  # or whose loss is so small


def measure(curves: Mapping[str, Sequence[float]], saturation: float | None) -> RunStability:
    """The figures of a run.

    Args:
        curves: by name, the means of at most 60 equal parts of the run.
        saturation: the share of its steps whose discriminator has won.
    """
    n_parts = len(curves.get("g_loss", ()))
    finals = {name: curve[-1] for name, curve in curves.items() if len(curve)}
    if n_parts < TREND:
        reason = f"{n_parts} recorded steps; a trend needs at least {TREND}"
        return RunStability(n_parts, {}, finals, None, saturation, reason)
    figures = {
        name: curve_stability(curve) for name, curve in curves.items() if len(curve) >= TREND
    }
    ratio = collapse_ratio(curves["g_loss"], curves["d_loss"])
    return RunStability(n_parts, figures, finals, ratio, saturation)


def curve_stability(values: ArrayLike) -> CurveStability:
    """Study 1's figures of one curve of at least 21 values."""
    curve = np.asarray(values, dtype=np.float64)
    trend = trend_of(curve, TREND)
    tenth = max(1, len(curve) // 10)
    return CurveStability(
        variance=windowed_variance(curve),
        convergence_rate=abs(float(np.polyfit(np.arange(len(trend)), trend, 1)[0])),
        oscillation=float((curve - trend).std()),
        improvement=float(curve[:tenth].mean() - curve[-tenth:].mean()),
        final=float(curve[-1]),
    )


def trend_of(curve: Curve, window: int) -> Curve:
    """The curve smoothed by cubics fitted to windows of an odd length (Savitzky and Golay 1964).

    The ends follow the first and the last whole window's cubic, as `scipy.signal.savgol_filter`
    has it; that module takes 0.8 s to import, which a page cannot afford.
    """
    half = window // 2
    powers = np.vander(np.arange(-half, half + 1.0), ORDER + 1, increasing=True)
    fit = np.linalg.pinv(powers)  # [ORDER + 1, window]: values of a window to its coefficients
    windows = np.lib.stride_tricks.sliding_window_view(curve, window)
    middle = windows @ fit[0]
    ends = (powers[:half] @ fit @ windows[0], powers[half + 1 :] @ fit @ windows[-1])
    found: Curve = np.concatenate([ends[0], middle, ends[1]])
    return found


def windowed_variance(values: ArrayLike) -> float:
    """Mean population variance of all windows of 10 values."""
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(values, np.float64), WINDOW)
    return float(windows.var(axis=1).mean())


def collapse_ratio(g_loss: ArrayLike, d_loss: ArrayLike) -> float:
    """Share of parts in which g's smoothed loss rises while d's falls, by over 0.1 each."""
    rising, falling = (
        np.diff(trend_of(np.asarray(it, np.float64), SHORT_TREND)) for it in (g_loss, d_loss)
    )
    return float(np.mean((rising > RISE) & (falling < -RISE)))
