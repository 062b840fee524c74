"""The launcher of workers: what it starts, passes on and starts again, shown by tiny commands."""

import json
import os
import pathlib
import signal
import sys
import threading
import time

import pytest

import train_workers

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


def test_a_signal_is_passed_on_and_so_is_the_status_that_follows(tmp_path):
    code = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
(folder / str(index)).touch()
time.sleep(60)
"""

    def send():
        while not all((tmp_path / str(index)).exists() for index in range(2)):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=send).start()
    assert run(code, tmp_path) == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


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
