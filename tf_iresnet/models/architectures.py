"""What image networks are made of, and the published ones by name."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What an image flow or an image classifier is made of.

    Attributes:
        blocks: residual blocks at each scale; a `Squeeze` comes between scales.
        block: "residual", or "monotone": `MonotoneBlock`, which is solved for in both directions.
        width: hidden channels of a plain branch, one number or one for each scale.
        kernels: sizes of its convolutions.
        growth: channels that each layer of a densely connected branch adds (i-DenseNet), by 3×3
            convolutions before a last one of 1×1; 0 for plain branches.
        depth: such layers in a branch.
        activation: in a plain branch before each convolution, except at the start of the very
            first block; in a dense one after each but the last.
        coefficient: bound on the norm of each layer; None for ordinary residual blocks without
            one, in classifiers only, to compare with.
        normalization: how it is kept, "power", "gram" or "aol": see `SpectralConv2D`.
        act_norm: whether an `ActNorm` goes before each block and after each scale's last.
        squeeze_first: whether a `Squeeze` comes before the first scale.
        pad_channels: channels of zeros that are appended before the first block (after that
            `Squeeze`), in classifiers only.
        factor_out: whether half of the channels leave after each scale but the last.
        tail_blocks: fully connected blocks on what the last scale gives.
        tail_width: hidden units of these; of dense ones, those of their first layer.
        tail_growth: units that each further layer of a dense one adds.
        base: distribution of a flow's latents, see `tf_iresnet.bases`.

    Raises:
        ValueError: for an unknown kind of block, a scale without blocks, widths for another number
            of scales, or a negative number of channels.
    """

    blocks: tuple[int, ...] = (16, 16, 16)
    block: str = "residual"
    width: int | tuple[int, ...] = 512
    kernels: tuple[int, ...] = (3, 1, 3)
    growth: int = 0
    depth: int = 3
    activation: str = "lipswish"
    coefficient: float | None = 0.98
    normalization: str = "power"
    act_norm: bool = True
    squeeze_first: bool = False
    pad_channels: int = 0
    factor_out: bool = False
    tail_blocks: int = 4
    tail_width: int = 128
    tail_growth: int = 32
    base: Any = "normal"

    def __post_init__(self) -> None:
        for name in ("blocks", "width", "kernels"):  # lists, as JSON has them
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.blocks or min(self.blocks) < 1:
            expected = "blocks to be at least 1 for each of at least one scale"
            raise ValueError(f"Expected {expected}. Received: blocks={self.blocks}.")
        if self.block not in ("residual", "monotone"):
            expected = "block to be 'residual' or 'monotone'"
            raise ValueError(f"Expected {expected}. Received: block={self.block!r}.")
        if min(self.widths) < 1 or len(self.widths) != len(self.blocks):
            raise ValueError(
                "Expected width to be a positive number, or one for each of the "
                f"{len(self.blocks)} scales. Received: width={self.width}, blocks={self.blocks}."
            )
        if self.pad_channels < 0:
            pad = f"pad_channels={self.pad_channels}"
            raise ValueError(f"Expected pad_channels to be 0 or more. Received: {pad}.")

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each scale."""
        return self.width if isinstance(self.width, tuple) else (self.width,) * len(self.blocks)


# Behrmann et al., arXiv 1811.00995; Chen et al., 1906.02735; Perugachi-Diaz et al., 2102.02694.
# The i-ResNets' density models are as the authors' script trains them: squeezed first, half of the
# channels leaving at each scale, a learned prior.
_BEHRMANN: dict[str, Any] = {"activation": "elu", "coefficient": 0.9, "tail_blocks": 0}
_FACTORED: dict[str, Any] = {"squeeze_first": True, "factor_out": True}
_IRESNET = Architecture(base="learned_normal", **_BEHRMANN, **_FACTORED)
_IRESNET_CLASSIFIER = Architecture((7, 7, 7), width=(32, 64, 128), pad_channels=13, **_BEHRMANN)
_IRESNET164_CLASSIFIER = dataclasses.replace(_IRESNET_CLASSIFIER, blocks=(18, 18, 18))
# To be trained on two CPU cores; not published.
_SMALL_CLASSIFIER = Architecture(
    (4, 4), width=(32, 64), squeeze_first=True, pad_channels=12, **_BEHRMANN
)
_IDENSENET = Architecture(growth=172, activation="clipswish", tail_width=64)

ARCHITECTURES = {
    "iresnet-mnist": dataclasses.replace(_IRESNET, width=32),
    "iresnet-cifar10": _IRESNET,
    "iresnet-classifier-cifar10": _IRESNET_CLASSIFIER,
    "iresnet164-classifier-cifar10": _IRESNET164_CLASSIFIER,
    "iresnet21-classifier-mnist": dataclasses.replace(_IRESNET_CLASSIFIER, pad_channels=15),
    "iresnet-classifier-mnist": _SMALL_CLASSIFIER,
    "resflow-mnist": Architecture(),
    "resflow-cifar10": Architecture(),
    "resflow-imagenet32": Architecture((32, 32, 32)),
    "resflow-imagenet64": Architecture((32, 32, 32), **_FACTORED),
    "resflow-celeba256": Architecture((16,) * 6, activation="elu", tail_blocks=0, **_FACTORED),
    "idensenet-cifar10": _IDENSENET,
    "idensenet-imagenet32": dataclasses.replace(_IDENSENET, blocks=(32, 32, 32)),
}


def get(architecture: str, **changes: Any) -> Architecture:
    """Returns the architecture of that name, with changes.

    Raises:
        ValueError: for an unknown name or field, or values that don't go together.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"Expected the name of an architecture: {', '.join(ARCHITECTURES)}. "
            f"Received: architecture={architecture!r}."
        )
    known = {field.name for field in dataclasses.fields(Architecture)}
    if unknown := ", ".join(sorted(changes.keys() - known)):
        expected = f"fields of an architecture: {', '.join(sorted(known))}"
        raise ValueError(f"Expected {expected}. Received: {unknown}.")
    return dataclasses.replace(ARCHITECTURES[architecture], **changes)
