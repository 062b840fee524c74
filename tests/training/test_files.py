"""A file is replaced whole or not at all, and what prevents it is said in one line."""

import contextlib
import os
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from support.regression import make_model

from tf_iresnet.training.checkpoints import Checkpoints, RunState
from tf_iresnet.training.commands import write_samples
from tf_iresnet.training.events import writing_events
from tf_iresnet.training.files import RunError, replacing, sha256, write_atomically
from tf_iresnet.training.sampling import describe_unknown_data
from tf_iresnet.training.saved_run import save_model
from tf_iresnet.training.workdir import Workdir

try:
    import resource
except ImportError:  # Windows
    resource = None

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


@contextlib.contextmanager
def files_of_at_most(size):
    """Within, writing beyond so many bytes of a file fails, in TensorFlow's library as well."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(resource is None, reason="needs a system with limits")
def test_a_limit_on_files_is_named_in_every_write_of_a_run(tmp_path):
    """Of checkpoints, models and samples; nothing is left of them."""
    run, model = Workdir(tmp_path), make_model()
    model.optimizer.build(model.trainable_variables)
    long = np.zeros((500, 2), np.float32)

    writes = {
        run.checkpoints[0]: lambda: Checkpoints(run).save(model, RunState()),
        run.model: lambda: save_model(model, run.model),
        run.path / "s.csv": lambda: write_samples(
            run.path / "s.csv", long, describe_unknown_data((2,))
        ),
    }
    for path, write in writes.items():
        with files_of_at_most(1000), pytest.raises(RunError) as error:
            write()
        assert str(error.value) == (
            f"Expected to write {path}. Received: File too large. Free space on the disk of "
            f"{tmp_path}, then run the same command again."
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="takes /sys for a directory of others")
def test_a_directory_where_nothing_may_be_written_is_named():

    def events(folder):
        with writing_events(folder):
            writer = tf.summary.create_file_writer(str(folder / "final"))
            with writer.as_default(0):
                tf.summary.scalar("loss", 1.0)
            writer.close()

    for write in (
        lambda: write_atomically("/sys/figures.json", "new"),
        lambda: Workdir("/sys/run").claim({}).__enter__(),
        lambda: events(pathlib.Path("/sys/tensorboard")),
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
