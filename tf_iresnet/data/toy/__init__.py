"""Eight densities in the plane on which flows are compared: `get(name)` of `DENSITIES`.

Shapes and scales are those of the FFJORD (arXiv 1810.01367) and Residual Flow (arXiv 1906.02735)
toy data. Each can be sampled at any (seed, step) and has a log density in nats. The errors of the
quadratures hold where log_prob is above -10; `curves` says how they grow. Entropies are the
checkerboard's ln 32 and, to 1e-6, integrals over the plane.

| name         | log_prob                                | entropy, nats |
|--------------|-----------------------------------------|---------------|
| 8gaussians   | closed form                             | 2.831578      |
| checkerboard | closed form                             | 3.465736      |
| circles      | closed form (a Bessel function)         | 3.268136      |
| moons        | quadrature along the curve, to 1e-6     | 2.393879      |
| pinwheel     | change of variables, but a mass of 2e-9 | 2.317788      |
| rings        | closed form (a Bessel function)         | 2.623183      |
| swissroll    | quadrature along the curve, to 1e-6     | 2.669646      |
| 2spirals     | quadrature along the curve, to 1e-6     | 2.645450      |
"""

from math import cos, pi, sin, sqrt

from tf_iresnet.data.toy.base import Density
from tf_iresnet.data.toy.curves import BOX, Curve, moons, swissroll, two_spirals
from tf_iresnet.data.toy.mixtures import Checkerboard, Gaussians, Rings
from tf_iresnet.data.toy.pinwheel import Pinwheel

_ANGLES = [k * pi / 4 for k in range(8)]
_COMPASS = tuple((sqrt(8) * cos(a), sqrt(8) * sin(a)) for a in _ANGLES)

_ALL = (
    Gaussians("8gaussians", 5.4, 0.12, centers=_COMPASS, scale=sqrt(1 / 8)),
    Checkerboard("checkerboard", 4.0, 0.1),
    Rings("circles", 4.7, 0.08, radii=(1.5, 3.0), scale=0.24),
    Curve("moons", 4.4, 0.08, moons, 0.2, (0.0, pi), panels=2),
    Pinwheel("pinwheel", 5.8, 0.04, scale=(0.3, 0.1)),
    Rings("rings", 3.6, 0.04, radii=(0.75, 1.5, 2.25, 3.0), scale=0.08),
    Curve("swissroll", 4.3, 0.08, swissroll, 0.2, (1.5 * pi, 4.5 * pi), panels=5),
    Curve("2spirals", 4.1, 0.06, two_spirals, 0.1, (0.0, 3 * pi), panels=9, power=0.5, box=BOX),
)
_BY_NAME = {density.name: density for density in _ALL}
DENSITIES = tuple(_BY_NAME)

__all__ = ["DENSITIES", "Density", "get"]


def get(name: str) -> Density:
    """Returns the density of that name; raises a ValueError if it isn't in `DENSITIES`."""
    if name not in _BY_NAME:
        known = ", ".join(DENSITIES)
        raise ValueError(f"Expected the name of a toy density: {known}. Received: name={name!r}.")
    return _BY_NAME[name]
