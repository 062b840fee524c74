"""What is installed: the wheel is the package, the lock admits what setup.py does, no network."""

import ast
import itertools
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def requirements():
    """Those of setup.py, by the name of their list."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
            yield node.targets[0].id, [Requirement(line) for line in ast.literal_eval(node.value)]


REQUIREMENTS = dict(requirements())


def applies(requirement, python):
    """Whether a requirement is one on Linux with a version of Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.9"}
    environment |= {"sys_platform": "linux", "platform_system": "Linux", "extra": ""}
    environment |= {"platform_machine": "x86_64", "implementation_name": "cpython"}
    return requirement.marker is None or requirement.marker.evaluate(environment)


def test_every_requirement_has_an_oldest_version():
    """Or `make test-oldest` would take one from another decade."""
    assert set(REQUIREMENTS) == {"CORE", "EXAMPLES", "TEST", "BENCH", "PACKAGING"}
    for requirement in itertools.chain(*REQUIREMENTS.values()):
        assert [s.operator for s in requirement.specifier] == [">="], str(requirement)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_pins_a_version_that_setup_py_admits(python):
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]
    pinned = {}
    for pin in filter(lambda pin: applies(pin, python), pins):
        (version,) = pin.specifier
        assert version.operator == "==" and pinned.setdefault(pin.name, version) is version
    for requirement in itertools.chain(*map(REQUIREMENTS.get, ("CORE", "EXAMPLES", "TEST"))):
        if applies(requirement, python):
            name = requirement.name.lower().replace("_", "-")
            assert requirement.specifier.contains(pinned[name].version), str(requirement)


def test_tests_reach_no_network():
    with pytest.raises(ConnectionRefusedError, match="no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=0.1)  # an address of no machine
    with pytest.raises(ConnectionRefusedError, match="no network"):
        socket.getaddrinfo("name.invalid", 80)


# -- the wheel ------------------------------------------------------------------------------------


def python(*arguments, executable=sys.executable, **options):
    process = subprocess.run(
        [*no_network(), executable, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, **options,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def no_network():
    """What runs a command where there is no network at all, if the machine lets one."""
    command = ["unshare", "--map-root-user", "--net"]
    possible = shutil.which("unshare") and not subprocess.run([*command, "true"]).returncode
    return command if possible else []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy: what earlier builds left behind would go into it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("tf_iresnet", "scripts", "configs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder)
    python("-m", "pip", "wheel", *options, folder, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    (metadata,) = (folder for folder in folders if folder.endswith(".dist-info"))
    assert folders == {"tf_iresnet", metadata}
    assert f"{metadata}/licenses/LICENSE" in names
    sources = (p for p in (ROOT / "tf_iresnet").rglob("*") if p.is_file())
    expected = {str(p.relative_to(ROOT)) for p in sources if p.suffix != ".pyc"}
    assert {"tf_iresnet/py.typed", "tf_iresnet/training/report.html.jinja"} <= expected
    assert expected == {name for name in names if name.startswith("tf_iresnet/")}


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own_without_a_network(wheel, tmp_path):
    """One that takes what the package needs, but not the package, from that of the tests."""
    venv.create(tmp_path)  # without a pip of its own, and setuptools with it
    executable = tmp_path / "bin" / "python"
    purelib = python("-c", "import sysconfig; print(sysconfig.get_path('purelib'))",
                     executable=executable).strip()  # fmt: skip
    # Files *.pth in there, such as that of an installation to edit, aren't followed from here.
    (pathlib.Path(purelib) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    options = ("--no-deps", "--no-index", "--ignore-installed")
    python("-m", "pip", "install", *options, wheel, executable=executable)
    assert "No broken requirements" in python("-m", "pip", "check", executable=executable)
    script = ROOT / "tests" / "support" / "installed.py"
    done = python("-I", script, "--train", executable=executable, cwd=tmp_path)
    assert "what is installed works" in done
    listed = python(ROOT / "scripts" / "train.py", "--list", executable=executable, cwd=tmp_path,
                    env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"})  # fmt: skip
    assert "digits" in listed
