"""Image data sets: published ones by name, scikit-learn's photographs, a user's own folder."""

from tf_iresnet.data.images.folder import load_image_folder
from tf_iresnet.data.images.patches import load_patches
from tf_iresnet.data.images.published import (
    load_cifar10,
    load_cifar100,
    load_fashion_mnist,
    load_mnist,
)

__all__ = [
    "load_cifar10",
    "load_cifar100",
    "load_fashion_mnist",
    "load_image_folder",
    "load_mnist",
    "load_patches",
]
