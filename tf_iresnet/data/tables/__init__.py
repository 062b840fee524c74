"""A user's own table of numbers, from a .csv, .npz, .npy or .parquet file."""

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.tables.table import Table, load_table

__all__ = ["Table", "TableError", "load_table"]
