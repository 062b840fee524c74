"""What is installed works by itself, without a network: run by the Python that it is installed for.

python -I tests/support/installed.py [--train]
"""

import importlib
import pathlib
import pkgutil
import runpy
import sys
import tempfile

FOLDER = pathlib.Path(__file__).parent
CONFIG = {
    "model": {"num_blocks": 1, "hidden_units": [4], "log_det": "exact"},
    "data": {"name": "toy", "density": "8gaussians", "validation_size": 20, "test_size": 20},
    "training": {"batch_size": 8, "steps_per_epoch": 2, "epochs": 1, "evaluation_examples": 10},
}


def main(train: bool) -> None:
    """Imports, samples and, with what that needs, imports the rest and trains."""
    runpy.run_path(str(FOLDER / "offline.py"))["refuse_the_network"]()
    import tf_iresnet

    origin = pathlib.Path(tf_iresnet.__file__)
    assert origin.is_relative_to(sys.prefix), f"imported from {origin}, not from {sys.prefix}"
    assert (origin.parent / "py.typed").exists()
    flow = tf_iresnet.mlp_flow(2, num_blocks=1, hidden_units=(4,), seed=0)
    assert tf_iresnet.certify(flow).invertible
    assert flow.distribution().sample(3, seed=0).shape == (3, 2)
    if not train:
        return
    for module in pkgutil.walk_packages(tf_iresnet.__path__, "tf_iresnet."):
        importlib.import_module(module.name)
    with tempfile.TemporaryDirectory() as folder:
        run = pathlib.Path(folder) / "run"
        tf_iresnet.training.train.train_and_evaluate(CONFIG, run)
        assert (run / "model.keras").exists() and (run / "report.html").exists()


if __name__ == "__main__":
    main(train="--train" in sys.argv)
    print("what is installed works")
