"""A user's own table of numbers, from a .csv, .npz, .npy or .parquet file."""

from tf_iresnet.data.tables.raw import TableError
from tf_iresnet.data.tables.table import Split, Table, load_table

__all__ = ["Split", "Table", "TableError", "load_table"]
