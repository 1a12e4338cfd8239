import pytest

from engine.system.files import LOG_TAIL_BYTES, load_tail, replacing


def test_a_file_is_replaced_when_the_block_ends_without_an_error(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with replacing(path) as file:
        file.write(b"first")

    with replacing(path) as file:
        file.write(b"second")
        assert path.read_bytes() == b"first"

    assert path.read_bytes() == b"second"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_after_an_error_the_old_file_is_unchanged(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"old")

    def fail():
        with replacing(tmp_path / "a.txt") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_the_tail_of_a_log_is_its_last_lines_and_of_no_log_empty(tmp_path):
    log = tmp_path / "run.log"
    assert load_tail(log) == ""

    log.write_text("one\ntwo\nthree\n")

    assert load_tail(log, 2) == "two\nthree"


def test_only_complete_lines_at_the_end_of_a_long_log_are_loaded(tmp_path):
    log, line = tmp_path / "run.log", "a line of 22 bytes: é"
    log.write_text(f"{line}\n" * (2 * LOG_TAIL_BYTES // 22))

    lines = load_tail(log, 10**6).splitlines()

    assert set(lines) == {line}
    assert len(lines) * 23 <= LOG_TAIL_BYTES
