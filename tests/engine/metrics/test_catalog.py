from typing import get_args

from engine.metrics.catalog import CATALOG, CURVE_METRICS, PER_IMAGE_METRICS, Use
from engine.training.losses import TERM_FUNCTIONS


def test_every_curve_that_training_records_is_in_the_catalog():
    recorded = {"g_loss", "d_loss", *TERM_FUNCTIONS, "val_g_loss", "val_psnr", "epoch_seconds"}
    recorded |= {"images_per_second", "peak_memory_mb", "lr_g", "lr_d"}
    recorded |= {"d_train_accuracy", "g_grad_norm", "d_grad_norm"}

    assert recorded == set(CURVE_METRICS)


def test_every_use_of_a_metric_is_declared():
    assert {use for metric in CATALOG.values() for use in metric.uses.split()} == set(get_args(Use))


def test_images_are_only_ordered_by_metrics_with_a_direction():
    assert all(CATALOG[name].better != "none" for name in PER_IMAGE_METRICS)


def test_a_missing_value_is_formatted_as_a_dash_and_not_as_a_number():
    assert CATALOG["psnr"].format(None) == "—"
    assert CATALOG["psnr"].format(0.0) == "0.00"


def test_a_heading_has_the_unit_and_an_arrow_in_the_better_direction():
    assert CATALOG["psnr"].heading == "PSNR (dB) ↑"
    assert CATALOG["kd_lite2"].heading == "Kernel (Lite2) ↓"
    assert CATALOG["d_loss"].heading == "Discriminator loss"
