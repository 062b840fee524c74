"""Orders of rows that are read in blocks: blocks are permuted, and the rows of a few at a time."""

import collections
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent import futures

import numpy as np

from tf_iresnet.data.batches import Rows

WINDOW = 2**18  # rows
_KEPT = 3  # windows in memory: one that is used, the next, and the last where a batch spans two


class ShuffledBlocks:
    """Rows in an endless sequence of epochs, each of which has every row once.

    An epoch permutes the blocks. Those whose rows begin within the same `window` of its positions
    are read together, and all of their rows are permuted. Both permutations are those of NumPy's
    `RandomState`, whose stream is frozen (NEP 19), seeded by the seed, the epoch and the window: so
    a position's row is known without reading anything before it. In memory are at most three
    windows, each of up to `window` rows and a block.

    Args:
        sizes: rows of each block, int [blocks].
        read: numbers of blocks → their rows, one block after another. Called from a thread.
        window: rows.
    """

    def __init__(
        self, sizes: np.ndarray, read: Callable[[Sequence[int]], Rows], window: int = WINDOW
    ):
        self._sizes, self._read, self._window = np.asarray(sizes, np.int64), read, window
        self.size = int(self._sizes.sum())
        self._lock = threading.Lock()
        self._pool = futures.ThreadPoolExecutor(1, "blocks")
        self._windows: collections.OrderedDict[tuple[int, int, int], futures.Future] = (
            collections.OrderedDict()
        )
        self._epoch = functools.lru_cache(maxsize=4)(self._make_epoch)

    def fetch(self, positions: np.ndarray, seed: int) -> Rows:
        """Returns the rows at consecutive positions int64 [m] of the sequence."""
        parts, place, end = [], int(positions[0]), int(positions[-1]) + 1
        while place < end:
            epoch, inside = divmod(place, self.size)
            _, starts = self._epoch(seed, epoch)
            window = int(np.searchsorted(starts, inside, side="right")) - 1
            until = min(int(starts[window + 1]) - inside, end - place)
            first = inside - int(starts[window])
            rows = self._get(seed, epoch, window, ahead=len(starts) - 2)
            parts.append([None if x is None else x[first : first + until] for x in rows])
            place += until
        joined = zip(*parts, strict=True)
        return Rows(*(None if x[0] is None else np.concatenate(x) for x in joined))

    def _make_epoch(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of the blocks, and the positions where windows start, with the end."""
        order = _random(seed, epoch).permutation(len(self._sizes))
        order = order[self._sizes[order] > 0]
        begins = np.cumsum(self._sizes[order]) - self._sizes[order]
        first = np.flatnonzero(np.diff(begins // self._window, prepend=-1))
        return order, np.append(begins[first], self.size)

    def _get(self, seed: int, epoch: int, window: int, ahead: int) -> Rows:
        """The rows of a window; the next one is read in the meantime."""
        following = (seed, epoch, window + 1) if window < ahead else (seed, epoch + 1, 0)
        with self._lock:
            for key in ((seed, epoch, window), following):
                if key not in self._windows:
                    self._windows[key] = self._pool.submit(self._load, *key)
                self._windows.move_to_end(key)
            while len(self._windows) > _KEPT:
                self._windows.popitem(last=False)
            wanted = self._windows[seed, epoch, window]
        try:
            return wanted.result()
        except Exception:
            with self._lock:
                self._windows.pop((seed, epoch, window), None)  # to be tried again
            raise

    def _load(self, seed: int, epoch: int, window: int) -> Rows:
        order, starts = self._epoch(seed, epoch)
        ends = np.cumsum(self._sizes[order])
        first, last = np.searchsorted(ends, starts[window : window + 2], side="right")
        rows = self._read(order[first:last].tolist())
        shuffled = _random(seed, epoch, window).permutation(len(rows.points))
        return Rows(*(None if array is None else array[shuffled] for array in rows))


def _random(seed: int, *numbers: int) -> np.random.RandomState:
    """A generator for a seed of any sign and these numbers, each below 2³²."""
    words = [(seed >> shift) & 0xFFFFFFFF for shift in (0, 32)]
    return np.random.RandomState([*words, len(numbers), *numbers])


def hashed(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Returns float64 [n] in [0, 1), uniform: hashes of whole numbers [n] (SplitMix64).

    Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    x = numbers.astype(np.uint64) * golden + _mix(np.array([seed + 1], np.uint64) * golden)
    return (_mix(x) >> np.uint64(11)) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
