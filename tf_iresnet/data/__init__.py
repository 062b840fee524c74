"""Data: toy densities, digits, images, a user's own tables and folders; all of them a `Dataset`."""

from tf_iresnet.data import digits, images, tables, toy
from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.dequantization import bits_per_dim
from tf_iresnet.data.errors import DataError
from tf_iresnet.data.registry import DATASETS, load
from tf_iresnet.data.tables import TableError

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "TableError",
    "bits_per_dim",
    "digits",
    "images",
    "load",
    "tables",
    "toy",
]
