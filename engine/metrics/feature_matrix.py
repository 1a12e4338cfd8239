"""Feature matrices and their statistics as float64, or the reason why nothing can rest on them."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from engine.errors import RefusedMetricError

Matrix = NDArray[np.float64]


def checked(features: ArrayLike, label: str) -> Matrix:
    """As float64 [N, D] on the CPU, or the reason why no distance can rest on it."""
    array = float64(features)
    if array.ndim != 2 or not array.shape[1]:
        raise RefusedMetricError(
            f"features must be [pictures, dimensions], not of shape {array.shape}"
        )
    if len(array) < 2:
        raise RefusedMetricError(f"{len(array)} {label} pictures: a distance needs at least two")
    finite(array, label)
    return array


def vector(mean: ArrayLike, label: str) -> Matrix:
    """A mean as float64 [D]."""
    array = float64(mean)
    if array.ndim != 1 or not len(array):
        raise RefusedMetricError(f"a mean must be [dimensions], not of shape {array.shape}")
    finite(array, label)
    return array


def covariance(given: ArrayLike, n_dimensions: int, label: str) -> Tensor:
    """A covariance as float64 [D, D], made exactly symmetric."""
    array = float64(given)
    if array.shape != (n_dimensions, n_dimensions):
        raise RefusedMetricError(
            f"the covariance of the {label} pictures must be of shape "
            f"{(n_dimensions, n_dimensions)} as their mean has it, not {array.shape}"
        )
    finite(array, label)
    if not np.allclose(array, array.T, rtol=1e-8, atol=1e-12 * float(np.abs(array).max())):
        raise RefusedMetricError(f"the covariance of the {label} pictures is not symmetric")
    return torch.from_numpy((array + array.T) / 2)


def float64(values: ArrayLike) -> Matrix:
    """Any array or tensor as float64 on the CPU."""
    there = values.detach().cpu() if isinstance(values, Tensor) else values
    return np.asarray(there, dtype=np.float64)


def finite(array: Matrix, label: str) -> None:
    """Refuses what is not finite."""
    if not np.isfinite(array).all():
        raise RefusedMetricError(f"the features of the {label} pictures are not finite")


def alike(x: Matrix, y: Matrix) -> None:
    """Refuses features of different widths."""
    if x.shape[1] != y.shape[1]:
        raise RefusedMetricError(
            f"features of {x.shape[1]} and {y.shape[1]} dimensions come from different networks"
        )
