"""Files damaged at random, and the count of those that end as they should: read, or in one line."""

import io
import time
import zipfile

from tf_iresnet.data.errors import DataError
from tf_iresnet.training.workdir import RunError

TOKENS = [b'"', b",", b";", b"\n", b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b"1e999", b"nan", b"-",
          b"'", b"#", b"\t", b"9" * 30, b"2024-01-01", b"x", b" "]  # fmt: skip


def mutate(content, rng):
    """The content with a few bytes flipped, replaced, inserted, removed or repeated."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        place, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 9))
        way = rng.integers(6)
        if way == 0 and data:
            data[place % len(data)] ^= 1 << int(rng.integers(8))
        elif way == 1:
            data[place : place + length] = rng.bytes(length)
        elif way == 2:
            data[place:place] = TOKENS[rng.integers(len(TOKENS))]
        elif way == 3:
            del data[place : place + length * 4]
        elif way == 4:
            data[place:place] = data[place : place + length * 8]
        else:
            data[place : place + 1] = bytes([(0, 1, 127, 128, 255)[rng.integers(5)]])
    return bytes(data[: len(data) - int(rng.integers(len(data) + 1)) * (rng.random() < 0.05)])


def mutate_members(content, rng):
    """A zip archive of which one member is damaged before it is packed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in members if "docProps" not in name]
    name = names[rng.integers(len(names))]
    members[name] = mutate(members[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return buffer.getvalue()


def read_all(kind, mutations, read, named=""):
    """Reads each of the mutations; prints how many, and returns the share that was refused.

    Refused is what ends in an error that the scripts print: one line that names the file. Any other
    error fails the test, with the mutation.
    """
    count, refused, slowest, begin = 0, 0, 0.0, time.process_time()
    for content in mutations:
        start = time.process_time()
        try:
            read(content)
        except (RunError, DataError) as error:
            text = str(error)
            assert "\n" not in text and len(text) > 40 and named in text, (kind, count, text)
            refused += 1
        except Exception as error:
            raise AssertionError(f"{kind}, mutation {count}: {content!r}") from error
        count, slowest = count + 1, max(slowest, time.process_time() - start)
    mean, each = (time.process_time() - begin) / count, 1000 * slowest
    print(f"{count:7,} {kind}: {refused:,} refused; {1000 * mean:.1f} ms each, at most {each:.0f}")
    assert slowest < 20, (kind, slowest)
    return refused / count
