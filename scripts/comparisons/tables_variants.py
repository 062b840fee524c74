"""Our flow of a table, and variants of it."""

from collections.abc import Mapping
from typing import Any

OURS = "ours"  # configs/tabular.py as it is, but for the time
_NEAR = {"model.base": "fitted_mixture", "model.initial_gain": 0.1}
_SMALL = {"model.num_blocks": 5, "model.hidden_units": (32, 32), "training.weight_decay": 0.1}
_BEGUN = _NEAR | {"model.preprocessing": "auto", "training.keep_start": True}
# Variants of ours → fields of configs/tabular.py that they change.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    # What the number of rows decides, the other way round.
    "begun": _BEGUN,
    "random": {"model.initial_gain": 1.0, "model.preprocessing": "gaussianize"}
    | {"training.keep_start": False},
    "standardize": {"model.preprocessing": "standardize"},
    "copula": {"model.preprocessing": "copula"},
    "fitted": {"model.base": "fitted_mixture"},
    "near": _NEAR,
    "near-copula": _NEAR | {"model.preprocessing": "copula"},
    "near-small": _NEAR | _SMALL,
    "near-small-copula": _NEAR | _SMALL | {"model.preprocessing": "copula"},
    "small": _SMALL,
    "elu": {"model.activation": "elu"},
    "lipswish": {"model.activation": "lipswish"},
    "mlp": {"model.branch": "lipschitz_mlp"},
    "mlp-elu": {"model.branch": "lipschitz_mlp", "model.activation": "elu"},
    "monotone": {"model.block": "monotone"},
    "monotone-mlp": {"model.block": "monotone", "model.branch": "lipschitz_mlp"},
    "implicit": {"model.block": "implicit"},
    "triangular": {"model.block": "triangular"},
    "student": {"model.base": "learned_student_t"},
    "groups": {"model.base": "mixture"},
    "mlp-student": {"model.branch": "lipschitz_mlp", "model.base": "learned_student_t"},
    "mlp-groups": {"model.branch": "lipschitz_mlp", "model.base": "mixture"},
    "narrow": {"model.hidden_units": (32, 32)},
    "wide": {"model.hidden_units": (128, 128)},
    "shallow": {"model.num_blocks": 4},
    "decay": {"training.weight_decay": 0.1},
    "patient": {"training.epochs": 10_000, "training.patience": None},  # until the time is over
}
