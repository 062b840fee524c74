"""A text file as lines and as records of cells: its encoding, compression, quotation marks."""

import codecs
import contextlib
import csv
import dataclasses
import gzip
import io
import pathlib
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO, TextIO, cast

from tf_iresnet.data.errors import TableError
from tf_iresnet.data.tables.options import WHITE_SPACE, Options

_BLOCK = 2**20
_LONGEST_SAMPLE = 2**20  # characters that are looked at before the table is read
_LONGEST_LINE = 2**24  # characters of a line that is still taken for one
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNDEFINED = b"\x81\x8d\x8f\x90\x9d"  # bytes that Windows' cp1252 doesn't define


@dataclasses.dataclass(frozen=True)
class TextSource:
    """Lines of text, of a file or of a copy of it.

    Args:
        file: what messages name.
        path: what is read.
        unit: what a line is called, "line" or "row".
    """

    file: pathlib.Path
    path: pathlib.Path
    encoding: str = "utf-8-sig"
    unit: str = "line"

    @contextlib.contextmanager
    def open(self) -> Iterator[TextIO]:
        """Opens the text; raises a TableError where it can't be decoded or divided into cells."""
        with (
            self.readable(),
            open_bytes(self.path) as stream,
            io.TextIOWrapper(stream, encoding=self.encoding, newline="") as text,
        ):
            yield text

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Raises a TableError for text that can't be decoded or divided into cells."""
        try:
            yield
        except UnicodeError as error:
            received = f"bytes that aren't: {' '.join(str(error).split())}"
            advice = "Name another encoding with --config.data.encoding=…."
            raise TableError(self.file, f"text in {self.encoding}", received, advice) from error
        except csv.Error as error:
            advice = "Save the file again as .csv."
            raise TableError(self.file, "lines of cells", str(error), advice) from error
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, PermissionError):
                raise
            raise damaged(self.file, error) from error

    def lines(self, count: int) -> tuple[list[str], bool]:
        """Returns the first lines, each with its end, and whether there may be more.

        They are `count` at most, and no more than 10 once they have millions of characters.
        """
        lines, size = [], 0
        with self.open() as stream:
            for line in iter(lambda: stream.readline(_LONGEST_LINE), ""):
                if len(line) >= _LONGEST_LINE:
                    received = f"one of {_LONGEST_LINE:,} characters or more"
                    advice = "Is this the right file?"
                    raise TableError(self.file, "lines of cells", received, advice)
                lines.append(line)
                size += len(line)
                if len(lines) >= count or (len(lines) >= 10 and size > _LONGEST_SAMPLE):
                    return lines, True
        return lines, False

    def records(self, separator: str, skip: int = 0) -> Iterator[tuple[int, list[str]]]:
        """Yields the records below the first `skip` lines; see `divide`."""
        with self.open() as stream:
            yield from divide(islice(stream, skip, None), separator, skip)


def divide(lines: Iterable[str], separator: str, first: int) -> Iterator[tuple[int, list[str]]]:
    """Yields the records that aren't blank, each with the number of its last line.

    Args:
        first: number of the line above `lines`.
    """
    if separator == WHITE_SPACE:
        lines = (" ".join(line.split()) + "\n" for line in lines)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for cells in reader:
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield first + reader.line_num, cells


def open_source(
    file: pathlib.Path, options: Options, notes: list[str], copy: pathlib.Path | None = None
) -> TextSource:
    """Returns the text of a file, its encoding as given or found out.

    Args:
        copy: the rows of a spreadsheet as text in UTF-8.
    """
    if copy is not None:
        return TextSource(file, copy, "utf-8", "row")
    encoding = options.encoding or _find_encoding(file)
    if encoding not in ("utf-8-sig", options.encoding):
        note = f"The text is read as {encoding}"
        notes.append(f"{note}; if letters are wrong, type --config.data.encoding=….")
    return TextSource(file, file, "utf-8-sig" if encoding.lower() == "utf-8" else encoding)


def open_bytes(path: pathlib.Path) -> BinaryIO:
    """Opens a file, decompressed if its name ends in .gz."""
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return open(path, "rb")


def damaged(file: pathlib.Path, error: BaseException) -> TableError:
    """Returns the error that says that a file can't be read, as another one does."""
    received = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    kind = "".join(file.suffixes[-2:]) if file.suffix.lower() == ".gz" else file.suffix
    expected = f"a readable {kind.lower()} file of numbers"
    return TableError(file, expected, received, "Save it again.")


def _find_encoding(file: pathlib.Path) -> str:
    """The mark of a file's start, else UTF-8 if all of it is, else that of Windows or Latin-1."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    undefined = False
    try:
        with open_bytes(file) as stream:
            block = stream.read(_BLOCK)
            for mark, encoding in _MARKS:
                if block.startswith(mark):
                    return encoding
            even, odd = block[::2].count(0), block[1::2].count(0)
            if max(even, odd) * 3 > len(block):
                return "utf-16-le" if odd > even else "utf-16-be"
            utf8 = True
            while block:
                if 0 in block:
                    advice = "Is this the right file?"
                    raise TableError(file, "text", "a NUL byte, as in binary files", advice)
                if utf8:
                    try:
                        decoder.decode(block)
                    except UnicodeDecodeError:
                        utf8 = False
                undefined |= len(block.translate(None, _UNDEFINED)) < len(block)
                block = stream.read(_BLOCK)
            if utf8 and decoder.getstate()[0]:
                utf8 = False
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, PermissionError):
            raise
        raise damaged(file, error) from error
    if utf8:
        return "utf-8-sig"
    return "latin-1" if undefined else "cp1252"
