"""A base that begins as the Gaussian mixture of the data."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_iresnet import data
from tf_iresnet.data.errors import optional_import
from tf_iresnet.layers.composition import InvertibleSequential
from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.models import bases
from tf_iresnet.models.flow import ResidualFlow

_ROWS = 20_000  # more make a fit longer, hardly better
_MOST_COMPONENTS = 8
_STARTS = 2
_PER_SECOND = 3e8  # operations, as counted here
_OVERHEAD = 20  # columns that would take as long as the rest of a step
_REGULARIZATION = 1e-4  # added to variances; latents have about 1


def choose_mixture(
    z: np.ndarray, seed: int = 0, most: int = _MOST_COMPONENTS, seconds: float = 60.0
) -> Any:
    """Returns scikit-learn's mixture of normals with full covariances, fitted to `z` [n, d].

    It has the number of components, from 1 to `most`, of the least Bayesian information criterion
    (Schwarz 1978), and at least d + 1 rows for each. More are tried until two in a row are worse,
    or about so many seconds are spent. They are counted in operations, so that the same rows always
    have the same mixture.
    """
    with optional_import("scikit-learn", "fits a mixture to the data"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
    best, least, worse, spent = None, np.inf, 0, 0
    for count in range(1, max(1, min(most, len(z) // (z.shape[1] + 1))) + 1):
        mixture = GaussianMixture(
            count, n_init=_STARTS, reg_covar=_REGULARIZATION, random_state=seed
        )
        with warnings.catch_warnings():  # a fit that could go on is as good a start as another
            warnings.simplefilter("ignore", ConvergenceWarning)
            criterion = mixture.fit(z).bic(z)
        worse = 0 if criterion < least else worse + 1
        if criterion < least:
            best, least = mixture, criterion
        spent += _STARTS * mixture.n_iter_ * count * z.size * (z.shape[1] + _OVERHEAD)
        if worse == 2 or spent > seconds * _PER_SECOND:
            break
    return best


def mixture_score(layers: Sequence[InvertibleLayer], dataset: data.Dataset) -> float:
    """Returns the mean log-density, nats, of the validation rows under a mixture behind `layers`.

    The mixture is fitted to what the layers make of training rows.
    """
    flow = ResidualFlow(InvertibleSequential(layers))
    flow.build((None, *dataset.event_shape))
    density = fit_base(flow, dataset)
    return float(np.mean(density.log_prob(dataset.validation)))


def fit_base(flow: ResidualFlow, dataset: data.Dataset, seed: int = 0) -> ResidualFlow:
    """Returns the flow's layers with a `FullMixture` for base, fitted to latents of training rows.

    These are the latents of the flow as it is: a flow that isn't trained yet begins as that mixture
    seen through its first, random blocks. What data initialise in it is set, by the same rows. The
    covariances are shrunk (`shrunk`) if that makes validation rows likelier: it does where columns
    are many for the rows, unless they are nearly collinear.

    Raises:
        ValueError: for data without rows to fit it to, or that aren't vectors.
    """
    if dataset.training_rows is None or len(dataset.event_shape) != 1:
        expected = "Expected vectors to fit a mixture to."
        raise ValueError(f"{expected} Received: {dataset.name} of shape {dataset.event_shape}.")
    rows = dataset.training_rows()
    rows = rows[np.random.RandomState(seed % 2**32).permutation(len(rows))[:_ROWS]]
    flow.layer.forward(rows, training=True)  # not by `call`, which rounds to a policy's dtype
    z = np.asarray(flow.layer.forward(rows).value, np.float64)
    mixture = choose_mixture(z, seed % 2**32)
    count = len(mixture.weights_)
    base = bases.FullMixture(count, dtype=flow.layer.working_dtype, name="base")
    fitted = ResidualFlow(flow.layer, base, flow.seed, dtype=flow.dtype_policy)
    fitted.build((None, *dataset.event_shape))
    held_out = flow.layer.forward(dataset.validation).value

    def score(covariances: np.ndarray) -> float:
        base.set_mixture(mixture.weights_, mixture.means_, covariances)
        return float(np.mean(base.log_prob(held_out)))

    choices = (mixture.covariances_, shrunk(mixture, z))
    base.set_mixture(mixture.weights_, mixture.means_, max(choices, key=score))
    return fitted


def shrunk(mixture: Any, z: np.ndarray) -> np.ndarray:
    """Returns covariances `[components, d, d]` of a mixture, drawn to multiples of the identity.

    By as much as minimises the expected squared error for the rows of `z` [n, d] that belong to
    each (Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
    matrices").
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    label, covariances = mixture.predict(z), np.array(mixture.covariances_)
    for k, covariance in enumerate(covariances):
        if np.sum(label == k) > 1:
            share = ledoit_wolf_shrinkage(z[label == k])
            level = np.trace(covariance) / z.shape[1]
            covariances[k] = (1 - share) * covariance + share * level * np.eye(z.shape[1])
    return covariances
