"""Which alerts the curves of a run cause, and when."""

import pytest

from engine.records.curves import MetricPoint
from engine.report.alerts import CurveMonitor

PER_EPOCH = 40


def epoch_of(epoch, psnr=None, won=0.0):
    """The points of an epoch: the discriminator wins a share of the steps; then a validation."""
    points = []
    for number in range(PER_EPOCH):
        step = (epoch - 1) * PER_EPOCH + number + 1
        is_won = number < won * PER_EPOCH
        points.append(MetricPoint(1, step, epoch, "d_train_accuracy", 0.99 if is_won else 0.6))
        points.append(MetricPoint(1, step, epoch, "d_loss", 0.5))
        points.append(MetricPoint(1, step, epoch, "l1", 0.1))
    value = 10.0 + epoch if psnr is None else psnr
    return [*points, MetricPoint(1, epoch * PER_EPOCH, epoch, "val_psnr", value)]


def alerts_of(*epochs, n_epochs=10):
    monitor = CurveMonitor(1, n_epochs)
    return [alert for points in epochs for alert in monitor.add(points)]


def test_a_run_without_problems_has_no_alert():
    assert alerts_of(*(epoch_of(epoch, won=0.5) for epoch in range(1, 11))) == []


def test_a_discriminator_that_wins_the_first_epoch_causes_no_alert():
    assert alerts_of(epoch_of(1, won=1.0), epoch_of(2, won=0.3)) == []


def test_a_discriminator_that_wins_the_first_epoch_after_pretraining_causes_no_alert():
    def pretraining(epoch):
        return [MetricPoint(1, epoch * PER_EPOCH, epoch, "val_psnr", 10.0 + epoch)]

    epochs = [pretraining(1), pretraining(2), epoch_of(3, won=1.0), epoch_of(4, won=0.4)]
    assert alerts_of(*epochs) == []
    (alert,) = alerts_of(pretraining(1), epoch_of(2, won=1.0), epoch_of(3, won=1.0))
    assert alert.step == 3 * PER_EPOCH


def test_a_discriminator_that_keeps_winning_causes_one_alert_at_the_beginning():
    alerts = alerts_of(*(epoch_of(epoch, won=0.95) for epoch in range(1, 6)))

    assert [(alert.kind, alert.step) for alert in alerts] == [("saturated", 2 * PER_EPOCH)]
    assert "won 95% of the steps of epoch 2" in alerts[0].text


def test_a_discriminator_that_wins_again_causes_a_second_alert():
    shares = (0.2, 0.95, 0.5, 0.95)

    alerts = alerts_of(*(epoch_of(number, won=share) for number, share in enumerate(shares, 1)))

    assert [alert.step for alert in alerts] == [2 * PER_EPOCH, 4 * PER_EPOCH]


def test_a_tiny_discriminator_loss_counts_as_a_win():
    points = [
        MetricPoint(1, PER_EPOCH + step, 2, "d_loss", 0.001) for step in range(1, PER_EPOCH + 1)
    ]

    alerts = alerts_of(epoch_of(1), points, [MetricPoint(1, 2 * PER_EPOCH, 2, "val_psnr", 20.0)])

    assert [alert.kind for alert in alerts] == ["saturated"]


@pytest.mark.parametrize(("n_epochs", "plateau_epochs"), [(10, 5), (40, 10)])
def test_a_plateau_of_the_validation_causes_one_alert(n_epochs, plateau_epochs):
    values = [10.0, 12.0, *[11.0] * (2 * plateau_epochs)]

    alerts = alerts_of(
        *(epoch_of(at, psnr) for at, psnr in enumerate(values, 1)), n_epochs=n_epochs
    )

    assert [(alert.kind, alert.step) for alert in alerts] == [
        ("plateau", (2 + plateau_epochs) * PER_EPOCH)
    ]
    assert f"for {plateau_epochs} epochs, since epoch 2 (12.00 dB)" in alerts[0].text


def test_a_resumed_run_has_the_alerts_of_an_uninterrupted_one():
    epochs = [epoch_of(at, psnr, won) for at, psnr, won in [(1, 9, 0), (2, 9, 1), (3, 8, 1)]]
    epochs += [epoch_of(at, 8, 0.95 if at > 5 else 0.1) for at in range(4, 9)]
    uninterrupted = alerts_of(*epochs)

    points = [point for points in epochs for point in points]
    half = 4 * len(epochs[0]) + 7
    first_alerts = CurveMonitor(1, 10).add(points[:half])
    resumed = CurveMonitor(1, 10)
    resumed.add(points[:half])

    assert first_alerts + resumed.add(points[half:]) == uninterrupted
    assert len(uninterrupted) == 3


def test_missing_values_are_ignored():
    points = [MetricPoint(1, 1, 1, name, None) for name in ("val_psnr", "d_loss")]

    assert alerts_of(points) == []
