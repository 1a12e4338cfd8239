import pytest
import torch

from engine import checkpoint
from engine.errors import EngineError


def test_what_was_saved_is_loaded(tmp_path):
    state = {"weights": torch.arange(5.0), "epoch": 3}

    sha256, n_bytes = checkpoint.save(state, tmp_path / "folder" / "one.pt")

    loaded = checkpoint.load(tmp_path / "folder" / "one.pt", sha256)
    assert torch.equal(loaded["weights"], state["weights"])
    assert loaded["epoch"] == 3
    assert (tmp_path / "folder" / "one.pt").stat().st_size == n_bytes


def test_a_flipped_byte_is_noticed(tmp_path):
    sha256, n_bytes = checkpoint.save({"weights": torch.arange(5.0)}, tmp_path / "one.pt")
    content = bytearray((tmp_path / "one.pt").read_bytes())
    content[n_bytes // 2] ^= 1
    (tmp_path / "one.pt").write_bytes(content)

    with pytest.raises(EngineError, match="damaged"):
        checkpoint.load(tmp_path / "one.pt", sha256)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(EngineError, match="is missing"):
        checkpoint.load(tmp_path / "none.pt", "0")


def test_a_failed_save_leaves_the_old_file_and_no_part(tmp_path):
    sha256, _ = checkpoint.save({"epoch": 1}, tmp_path / "one.pt")

    with pytest.raises(Exception, match="pickle"):
        checkpoint.save({"epoch": lambda: 2}, tmp_path / "one.pt")

    assert checkpoint.load(tmp_path / "one.pt", sha256) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["one.pt"]
