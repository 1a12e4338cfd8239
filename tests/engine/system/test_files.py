import pytest

from engine.system.files import replacing


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with replacing(path) as file:
        file.write(b"first")

    with replacing(path) as file:
        file.write(b"second")
        assert path.read_bytes() == b"first"

    assert path.read_bytes() == b"second"
    assert [it.name for it in path.parent.iterdir()] == ["a.txt"]


def test_after_an_error_the_old_file_is_as_it_was(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"old")

    def fail():
        with replacing(tmp_path / "a.txt") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert [it.name for it in tmp_path.iterdir()] == ["a.txt"]
