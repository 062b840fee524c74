"""Base distributions: what the latents of a flow follow, by name or as objects.

| name | object | |
|---|---|---|
| "normal" | `DiagonalNormal()` | standard normal |
| "learned_normal" | `DiagonalNormal(learned=True)` | a mean and a scale for each entry |
| "student_t" | `StudentT(df=5.0)` | heavy tails |
| "learned_student_t" | `StudentT(learned=True)` | the same, all learned for each entry |
| "mixture" | `NormalMixture(components=8)` | separate modes, all learned |
| "full_mixture" | `FullMixture(components=8)` | the same with full covariances |
| "uniform" | `Uniform(low=-0.5, high=0.5)` | for a network whose outputs are bounded |

Where a config can't hold an object, `{"name": "student_t", "df": 3.0}` takes its arguments. Any
`tfd.Distribution` is a base too, see `DistributionBase`, as is any subclass of `Base`;
`ConditionalNormal` depends on the condition.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.models.bases.conditional import ConditionalNormal
from tf_iresnet.models.bases.contract import Base
from tf_iresnet.models.bases.distribution import DistributionBase, is_distribution
from tf_iresnet.models.bases.full_mixture import FullMixture
from tf_iresnet.models.bases.independent import StudentT, Uniform
from tf_iresnet.models.bases.normals import ClassNormal, DiagonalNormal, NormalMixture

__all__ = [
    "NAMES", "Base", "ClassNormal", "ConditionalNormal", "DiagonalNormal", "DistributionBase",
    "FullMixture", "NormalMixture", "StudentT", "Uniform", "get",
]  # fmt: skip

_NAMED: dict[str, tuple[type[Base], dict[str, Any]]] = {
    "normal": (DiagonalNormal, {}),
    "learned_normal": (DiagonalNormal, {"learned": True}),
    "student_t": (StudentT, {}),
    "learned_student_t": (StudentT, {"learned": True}),
    "mixture": (NormalMixture, {}),
    "full_mixture": (FullMixture, {}),
    "uniform": (Uniform, {}),
}
NAMES = tuple(_NAMED)


def get(identifier: Any, layer: InvertibleLayer) -> Base:
    """Returns the base of a flow, for a name or an object.

    Args:
        identifier: one of `NAMES`, `{"name": …, arguments}`, a `Base` or a `tfd.Distribution`.
        layer: the network whose latents it is for: a base made here has its dtype.

    Raises:
        ValueError: for anything else, a `Base` that doesn't define `distribution()`, or one of
            another dtype or size of condition than the network.
    """
    base = identifier if isinstance(identifier, Base) else _make(identifier, layer)
    if type(base).distribution is Base.distribution:
        raise ValueError(
            "Expected a base that defines distribution(), from which the rest of the contract "
            f"follows. Received: {type(base).__name__} {base.name!r}. See tf_iresnet.bases.Base."
        )
    if base.variable_dtype != layer.working_dtype:
        raise ValueError(
            f"Expected a base of the network's dtype, {layer.working_dtype}. Received: "
            f"{type(base).__name__} of dtype {base.variable_dtype}. Make it with "
            f"dtype={layer.working_dtype!r}."
        )
    sizes = base.condition_size, layer.condition_size
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(
            "Expected the same condition_size in base and network, which share a condition. "
            f"Received: {sizes[0]} in the base, {sizes[1]} in the network."
        )
    return base


def _make(identifier: Any, layer: InvertibleLayer) -> Base:
    arguments = dict(identifier) if isinstance(identifier, Mapping) else {"name": identifier}
    name = arguments.pop("name", None)
    if isinstance(name, str) and name in _NAMED:
        cls, defaults = _NAMED[name]
        known = [*inspect.signature(cls).parameters][:-1]  # the last are those of Keras' layers
        if unknown := ", ".join(sorted(arguments.keys() - known)):
            expected = f"arguments of {cls.__name__}: {', '.join(known)}"
            raise ValueError(f"Expected {expected}. Received: {unknown} in base={identifier!r}.")
        return cls(**{"dtype": layer.dtype_policy, "name": "base", **defaults, **arguments})
    if is_distribution(identifier):
        return DistributionBase(identifier, name="base")
    raise ValueError(
        f"Expected base to be one of {list(NAMES)}, {{'name': one of these, arguments}}, a "
        f"tf_iresnet.bases.Base or a tfd.Distribution. Received: base={identifier!r}."
    )
