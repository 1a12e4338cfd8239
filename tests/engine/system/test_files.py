import os
import sys

import numpy as np
import pytest

from engine.system.files import (
    LOG_TAIL_BYTES,
    delete_leftover,
    delete_unfinished_folders,
    is_leftover,
    load_tail,
    replacing,
    replacing_array,
    replacing_folder,
)


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


def write_folder(path, content):
    with replacing_folder(path) as folder:
        (folder / "one").write_text(content)
        (folder / "two").write_text(content)


def content_of(path):
    """The contents of both files of a folder; None if there is no folder."""
    if not path.exists():
        return None
    return {file.name: file.read_text() for file in path.iterdir()}


def kill_after(n_operations, function, *arguments):
    """Calls a function in another process, which ends before a file operation.

    Args:
        n_operations: the number of operations on files and folders before the end.
        function: the function.
        arguments: its arguments.

    Returns:
        Whether the process ended before the function did.
    """
    pid = os.fork()
    if pid == 0:
        n_left = [n_operations]

        def count(event, _arguments):
            is_operation = event.startswith(("os.", "tempfile.", "shutil.")) or event == "open"
            if is_operation and event not in ("os.listdir", "os.scandir"):
                if n_left[0] == 0:
                    os._exit(1)
                n_left[0] -= 1

        sys.addaudithook(count)
        try:
            function(*arguments)
            os._exit(0)
        finally:
            os._exit(2)
    exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert exit_code in (0, 1)
    return exit_code == 1


def test_a_process_killed_at_any_point_leaves_the_old_or_the_new_folder(tmp_path):
    path = tmp_path / "data"
    old, new = {"one": "old", "two": "old"}, {"one": "new", "two": "new"}
    states, n_operations = [], 0
    write_folder(path, "old")

    while kill_after(n_operations, write_folder, path, "new"):
        delete_unfinished_folders(path)
        states.append(content_of(path))
        assert [folder.name for folder in tmp_path.iterdir()] == ["data"]
        write_folder(path, "old")
        n_operations += 1

    assert all(state in (old, new) for state in states)
    assert states[0] == old
    assert states[-1] == new
    assert content_of(path) == new


def test_an_old_folder_that_was_deleted_in_part_never_comes_back(tmp_path):
    path = tmp_path / "data"
    n_operations = 0
    write_folder(path, "old")

    while kill_after(n_operations, write_folder, path, "new"):
        is_new = content_of(path) == {"one": "new", "two": "new"}
        if is_new:
            (path / "one").unlink()
            (path / "two").unlink()
            path.rmdir()
        delete_unfinished_folders(path)
        assert content_of(path) in (None, {"one": "old", "two": "old"})
        write_folder(path, "old")
        n_operations += 1


@pytest.mark.parametrize("has_old_folder", [True, False])
def test_after_an_error_the_old_folder_is_unchanged(tmp_path, has_old_folder):
    path = tmp_path / "data"
    if has_old_folder:
        write_folder(path, "old")

    def fail():
        with replacing_folder(path) as folder:
            (folder / "one").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert content_of(path) == ({"one": "old", "two": "old"} if has_old_folder else None)
    assert len(list(tmp_path.iterdir())) == has_old_folder


def writing_file(path):
    return replacing(path)


def writing_array(path):
    return replacing_array(path, (2, 3), np.uint8)


@pytest.mark.parametrize("open_writer", [writing_file, writing_array])
def test_the_file_of_a_living_writer_is_no_leftover(tmp_path, open_writer):
    path = tmp_path / "a.npy"

    with open_writer(path):
        (partial,) = tmp_path.iterdir()
        assert partial.suffix == ".partial"
        assert not is_leftover(partial)
        assert not delete_leftover(partial)

    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("open_writer", [writing_file, writing_array])
def test_the_file_of_a_killed_writer_is_a_leftover(tmp_path, open_writer):
    def write():
        with open_writer(tmp_path / "a.npy"):
            os._exit(1)

    assert kill_after(1000, write)

    (partial,) = tmp_path.iterdir()
    assert is_leftover(partial)
    assert delete_leftover(partial)
    assert list(tmp_path.iterdir()) == []
    assert not is_leftover(partial)
