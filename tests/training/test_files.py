"""A file is replaced whole or not at all, and what prevents it is said in one line."""

import os
import pathlib
import sys

import pytest

from tf_iresnet.training.files import RunError, replacing, sha256, write_atomically
from tf_iresnet.training.workdir import Workdir

full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no device that is full")


@full
def test_a_full_disk_names_the_file_and_where_to_free_space(tmp_path):
    path = tmp_path / "figures.json"
    write_atomically(path, "old")
    (tmp_path / ".partial.figures.json").symlink_to("/dev/full")
    with pytest.raises(RunError) as error:
        write_atomically(path, "new and longer")
    assert str(error.value) == (
        f"Expected to write {path}. Received: No space left on device. Free space on the disk of "
        f"{tmp_path}, then run the same command again."
    )
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"], "what was taken is free again"


@pytest.mark.skipif(sys.platform != "linux", reason="takes /sys for a directory of others")
def test_a_directory_where_nothing_may_be_written_is_named():
    for write in (
        lambda: write_atomically("/sys/figures.json", "new"),
        lambda: Workdir("/sys/run").claim({}).__enter__(),
    ):
        with pytest.raises(RunError, match=r"^Expected to write /sys/.*\. Make /sys.* writable"):
            write()


@pytest.mark.skipif(sys.platform != "linux", reason="finds out in /proc what is synchronised")
def test_content_and_then_the_name_are_on_the_disk_before_a_write_is_over(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def note(descriptor):
        synced.append(pathlib.Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        synced.append((tmp_path / "a.txt").exists())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_atomically(tmp_path / "a.txt", "content")
    assert synced == [tmp_path / ".partial.a.txt", False, tmp_path, True]


def test_an_error_of_the_writer_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_the_checksum_is_that_of_the_standard(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "a") == expected
