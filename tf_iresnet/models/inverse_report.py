"""How each block of a model was inverted, as arrays and as a table."""

from typing import Any

import numpy as np

from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.numerics.fixed_point import Solution


class InverseReport(Solution):
    """An inverse, and how each block was solved for each example: arrays. Print it for a table.

    `value` is `[batch, *event]`, NaN where a block wasn't certified; `evaluations`, `products`,
    `certified_error` and `converged` are `[blocks, batch]`: see `Solution`. Blocks are in the order
    of the forward pass, without those that need no solver, as residual ones in an `Inverse`.
    """

    @property
    def solved(self) -> np.ndarray:
        """Whether all blocks of an example converged, bool `[batch]`."""
        return np.asarray(self.converged.all(axis=0))

    def __str__(self) -> str:
        total = len(self.solved)
        rows = [
            f"{'':<12}{'evaluations':>20}{'products':>10}{'certified':>12}{'converged':>14}",
            f"{'':<12}{'mean':>12}{'most':>8}{'mean':>10}{'error':>12}{f'of {total}':>14}",
        ]
        for index, block in enumerate(zip(*self[1:], strict=True)):
            evaluations, products, error, converged = block
            rows.append(
                f"{f'block {index}':<12}{evaluations.mean():>12.1f}{evaluations.max():>8}"
                f"{products.mean():>10.1f}{error.max():>12.1e}{converged.sum():>14}"
            )
        mean = self.evaluations.sum(axis=0).mean()
        summary = f"{mean:.1f} evaluations per example; {self.solved.sum()} of {total} examples"
        return "\n".join([*rows, "", f"{len(self.evaluations)} blocks: {summary} inverted."])


def inverse_report(
    model: InvertibleModel | InvertibleLayer, z: Any, condition: Any = None
) -> InverseReport:
    """Inverts a model at some latents, and reports what each block took.

    Args:
        model: a built `ResidualFlow`, classifier or invertible layer.
        z, condition: latents or features `[batch ≥ 1, …]`; `[batch, size]`, or None.

    Example:

        z = flow.encode(x)
        print(tf_iresnet.inverse_report(flow, z))
    """
    of_model = isinstance(model, InvertibleModel)
    invert = model.decode_with_report if of_model else model.inverse_with_report
    return InverseReport(*(field.numpy() for field in invert(z, condition)))
