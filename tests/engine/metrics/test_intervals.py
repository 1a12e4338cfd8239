import pytest

from engine.metrics.intervals import Interval, mean_interval, ranks


def test_the_interval_is_students():
    interval = mean_interval([1.0, 2.0, 3.0])

    # t(0.975, 2 degrees) = 4.302653, standard error 1 / sqrt(3).
    assert interval.mean == 2.0
    assert interval.low == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-5)
    assert interval.high == pytest.approx(2 + 4.302653 / 3**0.5, abs=1e-5)


def test_one_value_has_no_interval():
    assert mean_interval([4.0]) == Interval(4.0, None, None)


def test_differences_inside_the_noise_share_a_rank():
    intervals = [Interval(5, 4, 6), Interval(5.5, 4.5, 6.5), Interval(1, 0.5, 1.5)]

    assert ranks(intervals, larger_is_better=True) == [1, 1, 3]
    assert ranks(intervals, larger_is_better=False) == [2, 2, 1]


def test_without_intervals_there_is_no_rank():
    assert ranks([Interval(1, None, None), Interval(2, 1, 3)], larger_is_better=True) == [None] * 2
