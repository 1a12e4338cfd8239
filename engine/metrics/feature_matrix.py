"""Converts features to float64 matrices, and refuses matrices that are invalid for all metrics."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from engine.errors import RefusedMetricError

Matrix = NDArray[np.float64]


def as_feature_matrix(features: ArrayLike, label: str) -> Matrix:
    """Converts features to a float64 matrix [N, D] on the CPU.

    Args:
        features: [N, D] array or tensor.
        label: `target` or `generated`, for the error messages.

    Raises:
        RefusedMetricError: not a matrix, no columns, fewer than two rows, or non-finite values.
    """
    array = as_float64(features)
    if array.ndim != 2 or not array.shape[1]:
        raise RefusedMetricError(
            f"features must be [pictures, dimensions], not of shape {array.shape}"
        )
    if len(array) < 2:
        raise RefusedMetricError(f"{len(array)} {label} pictures: a distance needs at least two")
    if not np.isfinite(array).all():
        raise RefusedMetricError(f"the features of the {label} pictures are not finite")
    return array


def as_float64(values: ArrayLike) -> Matrix:
    """Converts an array or a tensor to a float64 array on the CPU."""
    on_cpu = values.detach().cpu() if isinstance(values, Tensor) else values
    return np.asarray(on_cpu, dtype=np.float64)


def require_same_width(x: Matrix, y: Matrix) -> None:
    """Refuses two matrices with different numbers of columns.

    Raises:
        RefusedMetricError: the numbers of columns differ.
    """
    if x.shape[1] != y.shape[1]:
        raise RefusedMetricError(
            f"features of {x.shape[1]} and {y.shape[1]} dimensions come from different networks"
        )
