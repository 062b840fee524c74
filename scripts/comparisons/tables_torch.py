"""Flows of zuko and normflows, with the sizes of their guides, and how they are trained."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from comparisons.tables_peers import Budget, Fitted

BATCH = 256
RATE = 1e-3  # the peak of Adam's learning rate, which falls along half a cosine
WAIT = 1 / 3  # of the time, after which a validation that isn't the best ends training
VALIDATION_SHARE = 0.1  # of the time, at most
VALIDATION_STEPS = 10  # between two validations, at least
VALIDATION_ROWS = 2000  # at most
CHUNK = 1000  # rows whose densities are computed together


def nsf(train: np.ndarray, validation: np.ndarray, seconds: float, seed: int) -> Fitted:
    """Trains zuko's neural spline flow as large as in its guide."""
    import torch
    import zuko

    torch.manual_seed(seed)
    flow = zuko.flows.NSF(train.shape[1], transforms=3, hidden_features=[128] * 3)
    return train_flow(flow, lambda x: flow().log_prob(x), _batches(train), validation, seconds)


def maf(train: np.ndarray, validation: np.ndarray, seconds: float, seed: int) -> Fitted:
    """Trains zuko's masked autoregressive flow, of five transforms as in its paper."""
    import torch
    import zuko

    torch.manual_seed(seed)
    flow = zuko.flows.MAF(train.shape[1], transforms=5, hidden_features=[128] * 2)
    return train_flow(flow, lambda x: flow().log_prob(x), _batches(train), validation, seconds)


def residual(train: np.ndarray, validation: np.ndarray, seconds: float, seed: int) -> Fitted:
    """Trains normflows' residual flow, as large as ours, with unbiased log-determinants.

    A normalisation follows each block, as in its guide, whose 16 blocks of 128 units would leave
    time for fewer steps. The power iterations are the five per step of its layers' default.
    """
    import normflows
    import torch

    torch.manual_seed(seed)
    size = train.shape[1]
    flows = []
    for _ in range(10):
        net = normflows.nets.LipschitzMLP([size, 64, 64, size])
        flows += [
            normflows.flows.Residual(net, reduce_memory=True),
            normflows.flows.ActNorm(size),
        ]
    base = normflows.distributions.DiagGaussian(size, trainable=False)
    flow = normflows.NormalizingFlow(base, flows)
    return train_flow(
        flow,
        lambda x: flow.log_prob(x.detach().clone()),  # it marks what it is given
        _batches(train),
        validation,
        seconds,
        after_step=lambda: normflows.utils.update_lipschitz(flow, 5),
    )


def _batches(train: np.ndarray) -> Iterator[Any]:
    """Batches of the rows without an end, each pass in another order."""
    import torch

    rows = torch.tensor(train, dtype=torch.float32)
    while True:
        for chosen in torch.randperm(len(rows)).split(BATCH):
            yield rows[chosen]


def train_flow(
    flow: Any,
    log_prob: Callable[[Any], Any],
    batches: Iterator[Any],
    validation: np.ndarray,
    seconds: float,
    rate: float = RATE,
    after_step: Callable[[], None] = lambda: None,
) -> Fitted:
    """Trains by Adam until the time is over or validation hasn't improved for a third of it.

    The weights of the best validation are kept.

    Args:
        flow: a module of torch.
        log_prob: its log-densities in nats, [n, *event] → [n].
        batches: float32 tensors [batch, *event], as many as there is time for.
        validation: [n, *event].
        seconds: of this process.
        rate: the peak of the learning rate.
        after_step: called after each step.
    """
    import torch

    torch.set_num_threads(1)
    judges = torch.tensor(validation[:VALIDATION_ROWS], dtype=torch.float32)

    def values(x: Any) -> np.ndarray:
        flow.eval()
        with torch.no_grad():
            found = torch.cat([log_prob(chunk) for chunk in x.split(CHUNK)])
        flow.train()
        return found.numpy().astype(np.float64)

    optimizer = torch.optim.Adam(flow.parameters(), lr=rate)  # imports much the first time
    budget = Budget(seconds)
    best, weights, best_at = -math.inf, copy.deepcopy(flow.state_dict()), math.inf
    steps, next_step, next_time = 0, VALIDATION_STEPS, 0.0
    flow.train()
    while (fraction := budget.fraction) < 1:
        batch = next(batches)
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * fraction))
        optimizer.zero_grad()
        loss = -log_prob(batch).mean()
        if not torch.isfinite(loss):
            break
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
        after_step()
        steps += 1
        if steps >= next_step and budget.elapsed >= next_time:
            before = budget.elapsed
            found = float(values(judges).mean())
            if found > best:
                best, weights = found, copy.deepcopy(flow.state_dict())
                best_at = budget.fraction
            elif budget.fraction > best_at + WAIT:
                break
            cost = budget.elapsed - before
            next_step = steps + VALIDATION_STEPS
            next_time = budget.elapsed + cost * (1 / VALIDATION_SHARE - 1)
    if float(values(judges).mean()) > best:
        best_at = budget.fraction
    else:
        flow.load_state_dict(weights)
    chosen = f"the best of {steps:,} steps at {min(1.0, best_at):.0%} of the time"
    spent = budget.elapsed
    return Fitted(lambda x: values(torch.tensor(x, dtype=torch.float32)), spent, chosen, steps)


METHODS = {"nsf": nsf, "maf": maf, "residual": residual}
