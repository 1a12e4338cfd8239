import csv
from pathlib import Path

import numpy as np
import pytest

from engine.report import stability

PUBLISHED = Path(__file__).parents[2] / "reference" / "published"
CURVES = {"g_loss": "gen_loss", "d_loss": "disc_loss", "val_g_loss": "val_gen_loss"}


def load_csv(name):
    with (PUBLISHED / name).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "row", load_csv("training_stability_report.csv"), ids=lambda row: row["Configuration"]
)
def test_the_statistics_equal_every_published_digit_of_the_sketch_study(row):
    log = load_csv(f"{row['Configuration'].lower()}_training_log.csv")
    curves = {name: [float(line[column]) for line in log] for name, column in CURVES.items()}

    measured = stability.measure(curves, None)

    g, d = measured.curves["g_loss"], measured.curves["d_loss"]
    assert measured.n_parts == 60
    ours = {
        "Gen Loss Variance": f"{g.variance:.6f}",
        "Disc Loss Variance": f"{d.variance:.6f}",
        "Gen Convergence Rate": f"{g.convergence_rate:.6f}",
        "Mode Collapse Risk": "High" if measured.collapse_ratio > 0.1 else "Low",
        "Collapse Ratio": f"{measured.collapse_ratio:.3f}",
        "Gen Oscillations": f"{g.oscillation:.4f}",
        "Loss Improvement": f"{g.improvement:.4f}",
        "Final Gen Loss": f"{measured.finals['g_loss']:.4f}",
        "Final Val Loss": f"{measured.finals['val_g_loss']:.4f}",
    }
    assert ours == {key: value for key, value in row.items() if key != "Configuration"}


def test_the_l1_term_compares_between_recipes_although_the_total_loss_does_not():
    standard, perceptual = (
        load_csv(f"{name}_training_log.csv") for name in ("standard", "perceptual")
    )

    total, l1 = (
        [
            stability.curve_stability([float(line[column]) for line in log])
            for log in (standard, perceptual)
        ]
        for column in ("gen_loss", "l1_loss")
    )

    # `perceptual` has eight times the published variance, although its L1 term varies less.
    assert total[1].variance / total[0].variance > 7
    assert l1[1].variance < l1[0].variance


def test_a_short_run_has_no_statistics_but_a_reason():
    measured = stability.measure({"g_loss": [1.0] * 8, "d_loss": [1.0] * 8}, 0.25)

    assert measured.curves == {}
    assert measured.collapse_ratio is None
    assert measured.missing == "8 of 60 parts of the run recorded; a trend needs 21"
    assert (measured.saturation, measured.finals["g_loss"]) == (0.25, 1.0)


def test_a_straight_line_converges_without_oscillation():
    curve = stability.curve_stability(10 - 0.1 * np.arange(60))

    assert curve.convergence_rate == pytest.approx(0.1)
    assert curve.oscillation == pytest.approx(0, abs=1e-9)
    assert curve.improvement == pytest.approx(5.4)
    assert curve.final == pytest.approx(4.1)
    assert curve.variance == pytest.approx(0.01 * (10**2 - 1) / 12)


def test_collapse_is_a_rising_generator_loss_with_a_falling_discriminator_loss():
    rising, falling = np.arange(30.0), -np.arange(30.0)

    assert stability.collapse_ratio(rising, falling) == 1.0
    assert stability.collapse_ratio(rising, rising) == 0.0
    assert stability.collapse_ratio(0.01 * rising, falling) == 0.0
