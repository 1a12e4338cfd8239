"""Draws 24 test pictures of a study side by side, for the README."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engine.images.grids import BACKGROUND, MUTED_RGB, TEXT_RGB
from engine.report.cases import load_fakes, load_pairs, read_chosen_predictions
from engine.report.gallery import read_image_order
from engine.settings import Settings
from engine.store import Store

CONFIGURATIONS = ("standard", "perceptual", "vivid")
N_PICTURES, N_BLOCKS = 24, 2
SIDE_PX, GAP_PX, BLOCK_GAP_PX, HEADER_PX = 96, 4, 24, 26
FONT_PX = 15


def pick_names(store: Store, run_ids: list[int]) -> list[str]:
    """Returns evenly spaced pictures of the test split, in the order of their names."""
    runs = [store.runs.read(run_id) for run_id in run_ids]
    names = sorted(read_image_order(store, runs, "psnr", True)[0])
    return [names[at] for at in np.linspace(0, len(names) - 1, N_PICTURES).round().astype(int)]


def write_drawings(store: Store, settings: Settings, study_id: int, path: Path) -> None:
    """Writes a picture with a row for each drawing.

    Args:
        store: the store with the study.
        settings: the locations of the images.
        study_id: a study with the configurations of `CONFIGURATIONS`; the first seed is shown.
        path: the file to write.
    """
    study = store.studies.read(study_id)
    first_runs = {run.configuration: run for run in reversed(store.runs.read_all(study_id))}
    runs = [first_runs[name] for name in CONFIGURATIONS]
    names = pick_names(store, [run.id for run in runs])
    sources, targets = load_pairs(study, runs[0].environment, names, settings)
    predictions = read_chosen_predictions(store, runs)
    columns = {
        "line art": sources,
        **{
            run.configuration: load_fakes(predictions[run.id], names, study.budget.px, settings)
            for run in runs
        },
        "target": targets,
    }

    # Draw the blocks of rows side by side.
    n_rows = N_PICTURES // N_BLOCKS
    step = SIDE_PX + GAP_PX
    block_px = len(columns) * step - GAP_PX
    width = N_BLOCKS * block_px + (N_BLOCKS - 1) * BLOCK_GAP_PX + 2 * GAP_PX
    sheet = Image.new("RGB", (width, HEADER_PX + n_rows * step), (BACKGROUND,) * 3)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    for block in range(N_BLOCKS):
        for column, (title, images) in enumerate(columns.items()):
            left = GAP_PX + block * (block_px + BLOCK_GAP_PX) + column * step
            color = TEXT_RGB if title in CONFIGURATIONS else MUTED_RGB
            draw.text((left + SIDE_PX // 2, 5), title, fill=color, font=font, anchor="ma")
            for row in range(n_rows):
                image = Image.fromarray(images[block * n_rows + row])
                enlarged = image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
                sheet.paste(enlarged, (left, HEADER_PX + row * step))
    sheet.save(path, optimize=True)
