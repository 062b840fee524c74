"""The configs of the repository, for comparisons that train what one of them describes."""

import importlib.util
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tf_iresnet.training.workdir import RunError

FOLDER = pathlib.Path(__file__).parents[2] / "configs"


def load_config(
    name: str,
    folder: pathlib.Path = FOLDER,
    arguments: Sequence[str] = (),
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """Returns what `get_config()` of configs/`name`.py gives.

    Args:
        name: of the file, without its ending.
        folder: where the configs lie.
        arguments: what follows the colon in --config=configs/name.py:argument.
        changes: section → fields to change, as --config.section.field=… does.

    Raises:
        RunError: where they don't, as in an installed package.
    """
    path = folder / f"{name}.py"
    if not path.is_file():
        raise RunError(
            f"Expected a clone of the repository, with configs/{name}.py in it. "
            f"Received: {path}, which isn't there; run scripts/compare.py from a clone."
        )
    spec = importlib.util.spec_from_file_location(f"config_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(*arguments)
    config.update(changes or {})
    return config
