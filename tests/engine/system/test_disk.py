import shutil

import pytest

from engine.errors import EngineError
from engine.system import disk


def test_room_is_required_beyond_the_bytes_to_write(tmp_path, monkeypatch):
    free = disk.SPARE_BYTES + 1000
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    folder = tmp_path / "does" / "not" / "exist"

    disk.require_room(1000, folder, "This", "Write less.")
    with pytest.raises(EngineError, match=r"This takes up to 0\.0 GB, and 0\.2 GB are free.*less"):
        disk.require_room(1001, folder, "This", "Write less.")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (12_345, "12 kB"), (2.5e9, "2.5 GB")]
)
def test_bytes_are_formatted_with_a_unit(count, text):
    assert disk.format_bytes(count) == text
