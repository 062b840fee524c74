"""TF_CONFIG, by which a worker knows the addresses of all workers and its place among them."""

import collections
import json
import re
from collections.abc import Mapping
from typing import Any

from tf_iresnet.training.files import RunError

_KINDS = ("chief", "worker")  # of the processes that train
_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)
# A name, an IPv4 address or an IPv6 address in brackets; and a port.
_ADDRESS = re.compile(r"(?:[\w.-]+|\[[\da-fA-F:.]+\]):(\d{1,5})", re.ASCII)


def read_cluster(text: str) -> list[str]:
    """Returns the addresses of all workers, the chief's first.

    Raises RunError unless `text` is the TF_CONFIG of a worker.
    """
    try:
        addresses, fault = _read(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        fault = ""
    if fault is not None:
        raise RunError(
            f"Expected TF_CONFIG to be set for strategy='multi_worker', such as {_EXAMPLE}. "
            f"Received: {fault}TF_CONFIG={text!r}. scripts/train_workers.py sets it for workers "
            "of one machine."
        )
    return addresses


def _read(text: str) -> tuple[list[str], str | None]:
    """The addresses, and what is wrong with them; errors for what is no TF_CONFIG at all."""
    config = json.loads(text)
    cluster, kind, index = config["cluster"], config["task"]["type"], config["task"]["index"]
    addresses = _addresses(cluster)
    if others := sorted(set(cluster) - set(_KINDS)):
        return addresses, f"{others[0]!r} beside chief and worker, the kinds of processes, in "
    if len(cluster.get("chief", [])) > 1:
        return addresses, f"{len(cluster['chief'])} chiefs, of which there is one, in "
    if kind not in _KINDS or type(index) is not int or not 0 <= index < len(cluster[kind]):
        return addresses, f"type={kind!r} and index={index!r}, which is none of these, in "
    for address in addresses:
        found = isinstance(address, str) and _ADDRESS.fullmatch(address)
        if not found or not 0 < int(found[1]) < 2**16:
            return addresses, f"{address!r}, which isn't host:port with a port below 65536, in "
    most, times = collections.Counter(addresses).most_common(1)[0]
    return addresses, f"{most!r} for {times} workers in " if times > 1 else None


def _addresses(cluster: Mapping[str, Any]) -> list[Any]:
    lists = [cluster[kind] for kind in _KINDS if kind in cluster]
    if not all(isinstance(addresses, list) for addresses in lists):
        raise TypeError
    return [address for addresses in lists for address in addresses]
