import csv
from pathlib import Path

import numpy as np
import pytest

from engine.report import stability

PUBLISHED = Path(__file__).parents[2] / "reference" / "published"
CURVES = {"g_loss": "gen_loss", "d_loss": "disc_loss", "val_g_loss": "val_gen_loss"}


def read(name):
    with (PUBLISHED / name).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "row", read("training_stability_report.csv"), ids=lambda it: it["Configuration"]
)
def test_every_published_digit_of_the_sketch_studys_report_comes_out(row):
    log = read(f"{row['Configuration'].lower()}_training_log.csv")
    curves = {name: [float(it[column]) for it in log] for name, column in CURVES.items()}

    found = stability.measure(curves, None)

    g, d = found.curves["g_loss"], found.curves["d_loss"]
    assert found.n_parts == 60
    ours = {
        "Gen Loss Variance": f"{g.variance:.6f}",
        "Disc Loss Variance": f"{d.variance:.6f}",
        "Gen Convergence Rate": f"{g.convergence_rate:.6f}",
        "Mode Collapse Risk": "High" if found.collapse_ratio > 0.1 else "Low",
        "Collapse Ratio": f"{found.collapse_ratio:.3f}",
        "Gen Oscillations": f"{g.oscillation:.4f}",
        "Loss Improvement": f"{g.improvement:.4f}",
        "Final Gen Loss": f"{found.finals['g_loss']:.4f}",
        "Final Val Loss": f"{found.finals['val_g_loss']:.4f}",
    }
    assert ours == {key: value for key, value in row.items() if key != "Configuration"}


def test_the_terms_of_different_recipes_compare_where_their_totals_do_not():
    standard, perceptual = (read(f"{name}_training_log.csv") for name in ("standard", "perceptual"))

    total, l1 = (
        [
            stability.curve_stability([float(it[column]) for it in log])
            for log in (standard, perceptual)
        ]
        for column in ("gen_loss", "l1_loss")
    )

    # The published report gives `perceptual` eight times the variance; its L1 is the steadier one.
    assert total[1].variance / total[0].variance > 7
    assert l1[1].variance < l1[0].variance


def test_a_short_run_has_no_figures_and_says_why():
    found = stability.measure({"g_loss": [1.0] * 8, "d_loss": [1.0] * 8}, 0.25)

    assert found.curves == {}
    assert found.collapse_ratio is None
    assert found.missing == "8 recorded steps; a trend needs at least 21"
    assert (found.saturation, found.finals["g_loss"]) == (0.25, 1.0)


def test_a_straight_line_only_converges():
    found = stability.curve_stability(10 - 0.1 * np.arange(60))

    assert found.convergence_rate == pytest.approx(0.1)
    assert found.oscillation == pytest.approx(0, abs=1e-9)
    assert found.improvement == pytest.approx(5.4)
    assert found.final == pytest.approx(4.1)
    assert found.variance == pytest.approx(0.01 * (10**2 - 1) / 12)


def test_collapse_is_a_generator_that_loses_while_its_discriminator_wins():
    rising, falling = np.arange(30.0), -np.arange(30.0)

    assert stability.collapse_ratio(rising, falling) == 1.0
    assert stability.collapse_ratio(rising, rising) == 0.0
    assert stability.collapse_ratio(0.01 * rising, falling) == 0.0
