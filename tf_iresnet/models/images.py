"""Image flows and image classifiers: published architectures by name, and changes to them."""

from collections.abc import Sequence
from typing import Any

from tf_iresnet.layers.composition import InvertibleSequential
from tf_iresnet.layers.invertible import InvertibleLayer
from tf_iresnet.layers.multiscale import MultiScale
from tf_iresnet.models.architectures import Architecture, get
from tf_iresnet.models.classifier import IResNetClassifier
from tf_iresnet.models.flow import ResidualFlow
from tf_iresnet.models.hybrid import HybridFlow
from tf_iresnet.models.image_layers import ImageLayers
from tf_iresnet.numerics.probes import chosen_seed


def image_flow(
    image_shape: Sequence[int],
    architecture: str = "resflow-cifar10",
    base: Any = None,
    log_det: Any = "auto",
    seed: int | None = None,
    *,
    preprocessing: Sequence[InvertibleLayer] = (),
    tolerance: float = 1e-5,
    memory: str = "store",
    dtype: Any = None,
    **changes: Any,
) -> ResidualFlow:
    """A built `ResidualFlow` of convolutional blocks, for images.

    It maps images `[batch, height, width, channels]` to latents `[batch, height·width·channels]`.

    Args:
        image_shape: `(height, width, channels)`.
        architecture: a name in `tf_iresnet.models.architectures.ARCHITECTURES`.
        base: see `mlp_flow`; None for that of the architecture.
        log_det, seed, tolerance, dtype: see `mlp_flow`.
        memory: see `mlp_flow`; the very first block, which has no copies, always stores.
        preprocessing: invertible layers between the data and the first block, such as `Rescale`
            and `Logit`; densities stay in the units of the data.
        **changes: fields of `Architecture` that replace the named one's, such as
            `blocks=(4, 4), width=64`.

    Raises:
        ValueError: for an unknown name or field, a shape that can't be squeezed so often, or an
            architecture without a log-determinant: padded channels, no coefficient.
    """
    chosen = get(architecture, **changes)
    seed = chosen_seed(seed)
    builder = ImageLayers(chosen, seed, log_det, tolerance, memory, dtype)
    layer = _flat(image_shape, preprocessing, builder)
    base = chosen.base if base is None else base
    flow = ResidualFlow(layer, base, seed % 2**31, dtype=dtype)
    flow.build((None, *image_shape))
    return flow


def image_hybrid(
    image_shape: Sequence[int],
    num_classes: int,
    architecture: str = "resflow-cifar10",
    density_weight: float | str = "1/D",
    log_det: Any = "auto",
    seed: int | None = None,
    *,
    preprocessing: Sequence[InvertibleLayer] = (),
    tolerance: float = 1e-5,
    memory: str = "store",
    dtype: Any = None,
    **changes: Any,
) -> HybridFlow:
    """A built `HybridFlow` for images: density and classifier at once.

    For the arguments see `image_flow`, and `HybridFlow` for `density_weight`. There is no `base`:
    the latents of each class have a normal of their own.

    Raises:
        ValueError: see `image_flow` and `HybridFlow`; for a `base`.
    """
    chosen = _without_base("HybridFlow", architecture, changes)
    seed = chosen_seed(seed)
    builder = ImageLayers(chosen, seed, log_det, tolerance, memory, dtype)
    layer = _flat(image_shape, preprocessing, builder)
    hybrid = HybridFlow(layer, num_classes, density_weight, seed % 2**31, dtype=dtype)
    hybrid.build((None, *image_shape))
    return hybrid


def image_classifier(
    image_shape: Sequence[int],
    num_classes: int,
    architecture: str = "iresnet-classifier-cifar10",
    seed: int | None = None,
    *,
    preprocessing: Sequence[InvertibleLayer] = (),
    tolerance: float = 1e-5,
    memory: str = "store",
    dtype: Any = None,
    **changes: Any,
) -> IResNetClassifier:
    """A built `IResNetClassifier` of images, which can turn its features back into the images.

    The features are images too, `[batch, height, width, channels]` of the last scale: no channels
    leave on the way, and there is no fully connected end. For the arguments see `image_flow`;
    `coefficient=None` makes an ordinary residual network of the same size, to compare with.

    Raises:
        ValueError: for an unknown name or field, a shape that can't be squeezed so often, or an
            architecture with `factor_out`, `tail_blocks` or a `base`.
    """
    chosen = _without_base("IResNetClassifier", architecture, changes)
    for name, off in (("factor_out", False), ("tail_blocks", 0)):
        if value := getattr(chosen, name):
            raise ValueError(
                f"Expected an architecture whose features are images, with {name}={off}. "
                f"Received: {name}={value} ({architecture!r}). Pass {name}={off}."
            )
    seed = chosen_seed(seed)
    stages = ImageLayers(chosen, seed, "auto", tolerance, memory, dtype).stages(tuple(image_shape))
    layers = [*preprocessing, *(layer for stage in stages for layer in stage)]
    network = InvertibleSequential(layers, dtype=dtype)
    classifier = IResNetClassifier(network, num_classes, seed % 2**31, dtype=dtype)
    classifier.build((None, *image_shape))
    return classifier


def _without_base(model: str, architecture: str, changes: dict[str, Any]) -> Architecture:
    if "base" in changes:
        raise ValueError(
            f"Expected no base: {model} has no latents whose distribution could be chosen. "
            f"Received: base={changes['base']!r}. Leave it out, or use image_flow."
        )
    return get(architecture, **changes)


def _flat(
    image_shape: Sequence[int], preprocessing: Sequence[InvertibleLayer], builder: ImageLayers
) -> InvertibleSequential:
    """The network from images to flat latents."""
    chosen = builder.architecture
    if chosen.pad_channels:
        raise ValueError(
            "Expected pad_channels=0 in a density model: padded images fill no volume, so that "
            f"there is no log-determinant. Received: pad_channels={chosen.pad_channels}. Use "
            "squeeze_first=True to have more channels, or image_classifier."
        )
    if chosen.coefficient is None:
        raise ValueError(
            "Expected a coefficient below 1 in a density model: unconstrained blocks have no "
            "certain inverse, and the series for the log-determinant may diverge. "
            "Received: coefficient=None. Give a number, or use image_classifier."
        )
    stages = list(builder.stages(tuple(image_shape)))
    split = MultiScale(stages, chosen.factor_out, dtype=builder.dtype)
    return InvertibleSequential([*preprocessing, split], dtype=builder.dtype)
