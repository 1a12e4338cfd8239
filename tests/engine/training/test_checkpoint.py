import errno
import io
import os
import random
from pathlib import Path

import pytest
import torch

from engine.errors import EngineError
from engine.training import checkpoint


def test_a_saved_state_is_loaded(tmp_path):
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


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(EngineError, match="is missing"):
        checkpoint.load(tmp_path / "none.pt", "0")


def test_a_failed_save_leaves_the_old_file_and_no_partial_file(tmp_path):
    sha256, _ = checkpoint.save({"epoch": 1}, tmp_path / "one.pt")

    with pytest.raises(Exception, match="pickle"):
        checkpoint.save({"epoch": lambda: 2}, tmp_path / "one.pt")

    assert checkpoint.load(tmp_path / "one.pt", sha256) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["one.pt"]


def test_a_checkpoint_is_the_old_one_or_the_new_one_whichever_write_fails(tmp_path, monkeypatch):
    """Lets every write, flush, fsync and replace fail once, until a save is complete."""
    path = tmp_path / "one.pt"
    old, new = ({"weights": torch.full((20_000,), value), "epoch": value} for value in (1.0, 2.0))
    checkpoint.save(old, path)
    counter = {"calls": 0, "fail_at": 0}

    def count():
        counter["calls"] += 1
        if counter["calls"] == counter["fail_at"]:
            raise OSError(errno.ENOSPC, "No space left on device")

    class Failing(io.BufferedRandom):
        def write(self, content):
            count()
            return super().write(content)

        def flush(self):
            count()
            super().flush()

    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fdopen", lambda number, _: Failing(io.FileIO(number, "r+")))
    monkeypatch.setattr(os, "fsync", lambda number: (count(), fsync(number)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (count(), replace(self, target)))

    outcomes = []
    while not outcomes or outcomes[-1] != "clean":
        counter["calls"], counter["fail_at"] = 0, counter["fail_at"] + 1
        try:
            checkpoint.save(new, path)
            outcomes.append("clean" if counter["calls"] < counter["fail_at"] else "new")
        except (OSError, RuntimeError):
            content = checkpoint.load(path, None)
            assert content["epoch"] in (1.0, 2.0)
            outcomes.append("old" if content["epoch"] == 1.0 else "new")
        assert [file.name for file in tmp_path.iterdir()] == ["one.pt"]

    assert outcomes.count("old") >= 4
    assert checkpoint.load(path, None)["epoch"] == 2.0


def test_two_hundred_flipped_bytes_are_noticed(tmp_path):
    state = {"weights": torch.arange(5000.0), "epoch": 3}
    sha256, n_bytes = checkpoint.save(state, tmp_path / "one.pt")
    undamaged = (tmp_path / "one.pt").read_bytes()
    generator = random.Random(0)

    for _ in range(200):
        content = bytearray(undamaged)
        content[generator.randrange(n_bytes)] ^= 1 << generator.randrange(8)
        (tmp_path / "one.pt").write_bytes(content)
        with pytest.raises(EngineError, match="damaged"):
            checkpoint.load(tmp_path / "one.pt", sha256)
