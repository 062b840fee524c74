"""The launcher of workers: what it starts, passes on and starts again, shown by tiny commands."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

import train_workers

pytestmark = pytest.mark.usefixtures("usual_signals")

# Each worker writes its number and how many there are to a file named after both.
PLACE = """
import json, os, pathlib, signal, sys, time
config = json.loads(os.environ["TF_CONFIG"])
index, folder = config["task"]["index"], pathlib.Path(sys.argv[1])
"""


def run(code, folder, workers=2, attempts=3):
    command = [sys.executable, "-c", PLACE + code, str(folder)]
    return train_workers.run(command, workers, str(folder), attempts)


def test_each_worker_knows_its_place_and_all_addresses(tmp_path):
    code = "(folder / str(index)).write_text(json.dumps(config))"
    assert run(code, tmp_path, workers=3) == 0
    found = [json.loads((tmp_path / str(index)).read_text()) for index in range(3)]
    addresses = found[0]["cluster"]["worker"]
    assert len(set(addresses)) == 3
    for index, config in enumerate(found):
        assert config["task"] == {"type": "worker", "index": index}
        assert config["cluster"] == {"worker": addresses}


@pytest.mark.parametrize("index", [0, 1])
def test_the_status_of_a_worker_that_can_not_go_on_is_passed_on(index, tmp_path, capfd):
    code = f"if index == {index}: sys.exit('no such config') if index else sys.exit(2)\n"
    code += "time.sleep(60)"
    began = time.monotonic()
    assert run(code, tmp_path) == (1 if index else 2)
    assert time.monotonic() - began < 30, "the other one is ended"
    assert ("no such config" in capfd.readouterr().err) == bool(index)


@pytest.mark.parametrize("death", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(75)"])
def test_after_a_death_all_start_again(death, tmp_path, capfd):
    code = f"""
checkpoint = folder / "checkpoint.npz"
if not checkpoint.exists():
    if index == 0:
        time.sleep(60)
    checkpoint.touch()
    {death}
"""
    assert run(code, tmp_path) == 0
    assert capfd.readouterr().out.count("all start again.") == 1


def test_workers_that_die_without_a_checkpoint_are_given_up(tmp_path, capfd):
    status = run("index and os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)", tmp_path)
    assert status == 128 + signal.SIGKILL
    (line,) = capfd.readouterr().err.splitlines()
    assert "3 deaths without a new checkpoint" in line and "SIGKILL" in line


ENDED = """
def end(*_):
    (folder / f"ended{index}").touch()
    sys.exit(128 + signal.SIGTERM)
signal.signal(signal.SIGTERM, end)
(folder / str(index)).write_text(str(os.getpid()))
time.sleep(60)
"""


def wait_for(*paths):
    end = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end, paths
        time.sleep(0.01)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_so_is_the_status_that_follows(signum, tmp_path):
    """That of a terminal which is closed as SIGTERM, and once; terminals send several."""

    def send():
        wait_for(tmp_path / "0", tmp_path / "1")
        for _ in range(2 if signum == signal.SIGHUP else 1):
            os.kill(os.getpid(), signum)

    before = signal.getsignal(signum)
    threading.Thread(target=send).start()
    assert run(ENDED, tmp_path) == 128 + signal.SIGTERM
    assert all((tmp_path / f"ended{index}").exists() for index in range(2))
    assert signal.getsignal(signum) is before


@pytest.mark.skipif(sys.platform != "linux", reason="a service of Linux")
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGHUP])
def test_workers_end_with_the_launcher_however_it_ends(signum, tmp_path):
    code = (
        f"import train_workers as t; t.run({[sys.executable, '-c', PLACE + ENDED, str(tmp_path)]}"
    )
    command = [sys.executable, "-c", f"{code}, 2, {str(tmp_path)!r}, 3)"]
    launcher = subprocess.Popen(command, cwd=pathlib.Path(train_workers.__file__).parent)
    wait_for(tmp_path / "0", tmp_path / "1")
    launcher.send_signal(signum)
    wait_for(tmp_path / "ended0", tmp_path / "ended1")
    assert launcher.wait(30) == (0 if signum == signal.SIGHUP else -signum)


def test_a_signal_between_two_jobs_reaches_the_next_one(tmp_path, monkeypatch):
    class Job:
        sent, waits = [], 0

        def __init__(self, *_):
            if Job.waits:
                os.kill(os.getpid(), signal.SIGTERM)

        def send(self, signum):
            Job.sent.append((Job.waits, signum))

        def wait(self):
            Job.waits += 1
            return 75 if Job.waits == 1 else 143

    monkeypatch.setattr(train_workers, "Job", Job)
    assert train_workers.run([], 2, str(tmp_path), 3) == 143
    assert Job.sent[-1] == (1, signal.SIGTERM)
    assert Job.waits == 2


@pytest.mark.parametrize("flags", [["--strategy=one"], ["--strategy", "one"], ["-strategy=tpu"]])
def test_another_strategy_is_refused_in_one_line(flags, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_workers.py", "--workdir=runs/none", *flags])
    with pytest.raises(SystemExit) as left:
        train_workers.main()
    assert left.value.code == 2
    assert (
        f"Expected no --strategy, which is multi_worker here. Received: {flags[0]}."
        in (capsys.readouterr().err.splitlines()[-1])
    )


@pytest.mark.parametrize("flag", ["--workers=0", "--attempts=0", "--workers=two"])
def test_numbers_that_make_no_sense_are_refused(flag, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_workers.py", "--workdir=runs/none", flag])
    with pytest.raises(SystemExit) as left:
        train_workers.main()
    assert left.value.code == 2
    assert ("invalid int" if "two" in flag else "1 or more") in capsys.readouterr().err


def test_it_starts_the_training_script_over_workers(monkeypatch):
    found = []
    monkeypatch.setattr(train_workers, "run", lambda *arguments: found.append(arguments) or 0)
    flags = ["--workdir=runs/a", "--config=b.py", "--config.training.epochs=1", "--workers=4"]
    monkeypatch.setattr(sys, "argv", ["train_workers.py", *flags])
    assert train_workers.main() == 0
    ((command, workers, workdir, attempts),) = found
    assert (workers, workdir, attempts) == (4, "runs/a", 3)
    assert pathlib.Path(command[1]).name == "train.py" and pathlib.Path(command[1]).is_file()
    assert set(command[2:]) == {"--strategy=multi_worker", *flags[:3]}
