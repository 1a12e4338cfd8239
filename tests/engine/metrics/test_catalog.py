from engine.metrics.catalog import CATALOG, CURVES
from engine.training.losses import TERMS


def test_every_curve_that_training_records_is_in_the_catalog():
    recorded = {"g_loss", "d_loss", *TERMS, "val_g_loss", "val_psnr", "epoch_seconds"}
    recorded |= {"images_per_second", "peak_memory_mb", "lr_g", "lr_d"}
    recorded |= {"d_train_accuracy", "g_grad_norm", "d_grad_norm"}

    assert recorded == set(CURVES)


def test_missing_is_a_dash_and_never_a_number():
    assert CATALOG["psnr"].format(None) == "—"
    assert CATALOG["psnr"].format(0.0) == "0.00"


def test_a_heading_has_the_unit_and_says_which_way_is_better():
    assert CATALOG["psnr"].heading == "PSNR (dB) ↑"
    assert CATALOG["kd_lite2"].heading == "Kernel (Lite2) ↓"
    assert CATALOG["d_loss"].heading == "Discriminator loss"
