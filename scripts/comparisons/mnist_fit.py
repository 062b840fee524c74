"""One density of images within CPU seconds, in a process of its own (see `pinned`).

TensorFlow and torch are imported where they are needed only: not every version of one bears the
other in its process.
"""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from comparisons import tables_torch
from comparisons.tables_fit import write_results


def fit_flow(task: Mapping[str, Any], path: str) -> None:
    """Trains a flow and writes its log-densities of the validation images to `path`.json.

    The time limit counts the seconds of this process. Training that was interrupted goes on from
    its last checkpoint. No test image is looked at.

    Args:
        task: `config`, resolved; and `peer`, the settings of `tfp_flows.make_flow`, for a flow of
            TFP's in the place of the config's model.
        path: of the workdir, and of the results, without the ending.
    """
    from comparisons import tfp_flows
    from tf_iresnet.training import build, evaluation
    from tf_iresnet.training.callbacks import Schedule
    from tf_iresnet.training.options import TrainingOptions
    from tf_iresnet.training.train import fit, reproducible_sums
    from tf_iresnet.training.workdir import Workdir

    Schedule.clock = staticmethod(time.process_time)
    config, peer, run = task["config"], task.get("peer"), Workdir(path)
    dataset, options = build.make_dataset(config), TrainingOptions(**config["training"])
    if peer is None:
        flow = build.make_model(config, dataset)
    else:
        flow = tfp_flows.make_flow(peer, dataset, options)
    with run.claim(task), reproducible_sums():
        state = fit(flow, dataset, options, run)
        log_prob = evaluation.log_prob(flow, dataset.validation, options.evaluation_batch_size)
    write_results(
        path,
        task,
        state.elapsed,
        f"the best of {state.epoch} validations at {state.best_epoch}",
        {"validation": log_prob},
        parameters=tfp_flows.parameters(flow),
        steps=state.step,
    )


def fit_glow(task: Mapping[str, Any], path: str) -> None:
    """Trains a Glow of normflows and writes its log-densities of the validation images.

    Args:
        task: `images`, an .npz file with training levels uint8 [n, height, width, channels] and
            dequantised validation images of that shape; `levels` of a pixel; `seconds` of CPU,
            `seed`; and `glow`: the fields of `glow`, the `batch_size` and the peak `rate`.
        path: of the results, without the ending.
    """
    import torch

    settings = dict(task["glow"])
    batch_size, rate = settings.pop("batch_size"), settings.pop("rate")
    with np.load(task["images"]) as images:
        train, validation = (np.moveaxis(images[name], -1, 1) for name in ("train", "validation"))
    torch.manual_seed(task["seed"])
    flow = glow(train.shape[1:], **settings)
    constant = math.prod(train.shape[1:]) * math.log(task["levels"])

    def log_prob(x: Any) -> Any:
        return flow.log_prob(x / task["levels"], None) - constant

    fitted = tables_torch.train_flow(
        flow, log_prob, dequantised_batches(train, batch_size), validation, task["seconds"], rate
    )
    write_results(
        path,
        task,
        fitted.cpu_seconds,
        fitted.chosen,
        {"validation": fitted.log_prob(validation)},
        parameters=sum(weight.numel() for weight in flow.parameters()),
        steps=fitted.steps,
    )


def glow(shape: tuple[int, int, int], scales: int, steps: int, channels: int, alpha: float) -> Any:
    """Returns a multi-scale flow as in normflows' guide to images, of images in [0, 1).

    Args:
        shape: `(channels, height, width)` of an image.
        scales: halvings of height and width, after each of which but the last half of the channels
            leave.
        steps: blocks of normalisation, 1×1 convolution and affine coupling per scale.
        channels: hidden ones of each coupling.
        alpha: of the logit that comes first.
    """
    import normflows

    # Deepest scale first: its flows map latents to data.
    bases, flows, merges = [], [], []
    for scale in range(scales, 0, -1):
        size = (shape[0] * 2 ** (scale + 1), shape[1] // 2**scale, shape[2] // 2**scale)
        blocks = [normflows.flows.GlowBlock(size[0], channels) for _ in range(steps)]
        flows.append([*blocks, normflows.flows.Squeeze()])
        if scale < scales:
            merges.append(normflows.flows.Merge())
            size = (size[0] // 2, *size[1:])
        bases.append(normflows.distributions.GlowBase(size))
    logit = normflows.transforms.Logit(alpha)
    return normflows.MultiscaleFlow(bases, flows, merges, logit, class_cond=False)


def dequantised_batches(levels: np.ndarray, batch_size: int) -> Iterator[Any]:
    """Yields float32 batches of uint8 levels, each pass in a new order and with new noise."""
    import torch

    rows = torch.tensor(levels)
    while True:
        for chosen in torch.randperm(len(rows)).split(batch_size):
            batch = rows[chosen].float()
            # Not beyond the cell: 255 + .9999999 rounds to 256.
            yield torch.minimum(batch + torch.rand_like(batch), torch.nextafter(batch + 1, batch))
