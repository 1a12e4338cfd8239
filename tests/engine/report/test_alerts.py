"""What is said of a run's curves, and when."""

import pytest

from engine.records.curves import MetricPoint
from engine.report.alerts import Watch

PER_EPOCH = 40


def epoch_of(epoch, psnr=None, won=0.0):
    """An epoch's points: the share of its steps that the discriminator wins, then a validation."""
    points = []
    for number in range(PER_EPOCH):
        step = (epoch - 1) * PER_EPOCH + number + 1
        is_won = number < won * PER_EPOCH
        points.append(MetricPoint(1, step, epoch, "d_train_accuracy", 0.99 if is_won else 0.6))
        points.append(MetricPoint(1, step, epoch, "d_loss", 0.5))
        points.append(MetricPoint(1, step, epoch, "l1", 0.1))
    value = 10.0 + epoch if psnr is None else psnr
    return [*points, MetricPoint(1, epoch * PER_EPOCH, epoch, "val_psnr", value)]


def seen(*epochs, of=10):
    watch = Watch(1, of)
    return [alert for points in epochs for alert in watch.look(points)]


def test_a_run_in_which_all_is_well_has_no_alert():
    assert seen(*(epoch_of(epoch, won=0.5) for epoch in range(1, 11))) == []


def test_a_discriminator_that_wins_the_first_epoch_is_no_news():
    assert seen(epoch_of(1, won=1.0), epoch_of(2, won=0.3)) == []


def test_after_pretraining_the_discriminator_s_first_epoch_is_no_news_either():
    def alone(epoch):
        return [MetricPoint(1, epoch * PER_EPOCH, epoch, "val_psnr", 10.0 + epoch)]

    assert seen(alone(1), alone(2), epoch_of(3, won=1.0), epoch_of(4, won=0.4)) == []
    (found,) = seen(alone(1), epoch_of(2, won=1.0), epoch_of(3, won=1.0))
    assert found.step == 3 * PER_EPOCH


def test_a_discriminator_that_wins_is_told_once_where_it_began():
    found = seen(*(epoch_of(epoch, won=0.95) for epoch in range(1, 6)))

    assert [(it.kind, it.step) for it in found] == [("saturated", 2 * PER_EPOCH)]
    assert "won 95% of the steps of epoch 2" in found[0].text


def test_it_is_told_again_when_it_wins_again():
    shares = (0.2, 0.95, 0.5, 0.95)

    found = seen(*(epoch_of(number, won=share) for number, share in enumerate(shares, 1)))

    assert [it.step for it in found] == [2 * PER_EPOCH, 4 * PER_EPOCH]


def test_a_tiny_discriminator_loss_is_a_win_too():
    points = [
        MetricPoint(1, PER_EPOCH + step, 2, "d_loss", 0.001) for step in range(1, PER_EPOCH + 1)
    ]

    found = seen(epoch_of(1), points, [MetricPoint(1, 2 * PER_EPOCH, 2, "val_psnr", 20.0)])

    assert [it.kind for it in found] == ["saturated"]


@pytest.mark.parametrize(("epochs", "patience"), [(10, 5), (40, 10)])
def test_no_better_picture_for_a_while_is_told_once(epochs, patience):
    values = [10.0, 12.0, *[11.0] * (2 * patience)]

    found = seen(*(epoch_of(at, psnr) for at, psnr in enumerate(values, 1)), of=epochs)

    assert [(it.kind, it.step) for it in found] == [("plateau", (2 + patience) * PER_EPOCH)]
    assert f"for {patience} epochs, since epoch 2 (12.00 dB)" in found[0].text


def test_a_watch_that_is_fed_the_past_goes_on_as_if_it_had_never_stopped():
    epochs = [epoch_of(at, psnr, won) for at, psnr, won in [(1, 9, 0), (2, 9, 1), (3, 8, 1)]]
    epochs += [epoch_of(at, 8, 0.95 if at > 5 else 0.1) for at in range(4, 9)]
    whole = seen(*epochs)

    resumed = Watch(1, 10)
    points = [point for points in epochs for point in points]
    half = 4 * len(epochs[0]) + 7
    before = resumed.look(points[:half])
    again = Watch(1, 10)
    again.look(points[:half])

    assert before + again.look(points[half:]) == whole
    assert len(whole) == 3


def test_values_that_are_missing_are_passed_over():
    assert (
        seen([MetricPoint(1, 1, 1, "val_psnr", None), MetricPoint(1, 1, 1, "d_loss", None)]) == []
    )
