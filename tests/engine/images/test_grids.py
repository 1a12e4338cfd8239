import numpy as np
import pytest
from PIL import Image

from engine.images import grids


def pictures(count, value, px=32):
    return np.full((count, px, px, 3), value, np.uint8)


def test_a_grid_has_a_row_per_pair_and_a_column_each_for_source_target_and_fake(tmp_path):
    files = grids.save_samples(tmp_path, 3, pictures(2, 10), pictures(2, 20), pictures(2, 30))

    grid = np.asarray(Image.open(files.grid))
    step = 128 + grids.GUTTER_PX
    assert grid.shape == (2 * step - grids.GUTTER_PX, 3 * step - grids.GUTTER_PX, 3)
    for row in range(2):
        values = [int(grid[row * step + 5, column * step + 5, 0]) for column in range(3)]
        assert values == [10, 20, 30]


def test_columns_and_a_thumbnail_have_files_of_their_own(tmp_path):
    files = grids.save_samples(tmp_path, 3, pictures(5, 10), pictures(5, 20), pictures(5, 30))

    assert np.asarray(Image.open(files.fake)).shape == (5 * 132 - 4, 128, 3)
    assert np.asarray(Image.open(files.target))[0, 0].tolist() == [20] * 3
    assert np.asarray(Image.open(files.thumbnail)).shape == (2 * 132 - 4, 5 * 132 - 4, 3)


def test_small_pictures_are_enlarged_without_interpolation():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 16:] = 200

    enlarged = grids.tile([[picture]])

    assert enlarged.shape == (128, 128, 3)
    assert set(np.unique(enlarged)) == {0, 200}


def test_large_pictures_keep_their_size():
    assert grids.tile([[pictures(1, 0, px=256)[0]]]).shape == (256, 256, 3)


def test_a_picture_that_cannot_be_written_leaves_the_old_file(tmp_path):
    grids.save_png(pictures(1, 7)[0], tmp_path / "a.png")

    with pytest.raises(TypeError):
        grids.save_png(np.zeros((2, 2, 7), np.float64), tmp_path / "a.png")

    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert np.asarray(Image.open(tmp_path / "a.png"))[0, 0, 0] == 7
