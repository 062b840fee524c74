"""How each block of a model was inverted, as arrays and as a table."""

from typing import Any

import numpy as np

from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.models.invertible import InvertibleModel
from tf_iresnet.numerics.fixed_point import Solution


class InverseReport(Solution):
    """An inverse, and what it took of every block for every example: arrays. Print it for a table.

    Blocks are in the order of the forward pass. Those that an `Inverse` layer turns around aren't
    among them: there is nothing to solve for. `value` is `[batch, *event]`, NaN where a block
    wasn't certified; `evaluations`, `products`, `certified_error` and `converged` are
    `[blocks, batch]`: see `Solution`.
    """

    @property
    def solved(self) -> np.ndarray:
        """Whether all blocks of an example converged, bool `[batch]`."""
        return np.asarray(self.converged.all(axis=0))

    def __str__(self) -> str:
        total = len(self.solved)
        rows = [
            f"{'':<12}{'evaluations':>20}{'products':>10}{'certified':>12}{'converged':>14}",
            f"{'':<12}{'mean':>12}{'most':>8}{'mean':>10}{'error':>12}{'of ' + str(total):>14}",
        ]
        rows += [
            f"{f'block {index}':<12}{evaluations.mean():>12.1f}{evaluations.max():>8}"
            f"{products.mean():>10.1f}{error.max():>12.1e}{converged.sum():>14}"
            for index, (evaluations, products, error, converged) in enumerate(
                zip(*self[1:], strict=True)
            )
        ]
        summary = (
            f"{self.evaluations.sum(axis=0).mean():.1f} evaluations per example; "
            f"{self.solved.sum()} of {total} examples inverted."
        )
        return "\n".join([*rows, "", f"{len(self.evaluations)} blocks: {summary}"])


def inverse_report(
    model: InvertibleModel | InvertibleLayer, z: Any, condition: Any = None
) -> InverseReport:
    """Inverts a model at some latents, and reports what each block took.

    Args:
        model: a built `ResidualFlow`, classifier or invertible layer.
        z: latents or features `[batch, …]`, at least one.
        condition: `[batch, size]`, or None.

    Returns:
        An `InverseReport`; print it, or ask it `solved`.

    Example:

        z = flow.encode(x)
        print(tf_iresnet.inverse_report(flow, z))
    """
    of_model = isinstance(model, InvertibleModel)
    invert = model.decode_with_report if of_model else model.inverse_with_report
    return InverseReport(*(field.numpy() for field in invert(z, condition)))
