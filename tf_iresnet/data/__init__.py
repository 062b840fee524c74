"""Data: toy densities, handwritten digits, a user's own tables; all of them a `Dataset`."""

from tf_iresnet.data import digits, tables, toy
from tf_iresnet.data.dataset import Dataset
from tf_iresnet.data.dequantization import bits_per_dim
from tf_iresnet.data.registry import DATASETS, load
from tf_iresnet.data.tables import TableError

__all__ = ["DATASETS", "Dataset", "TableError", "bits_per_dim", "digits", "load", "tables", "toy"]
