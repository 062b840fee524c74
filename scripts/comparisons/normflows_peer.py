"""A workload of the benchmark on normflows."""

from typing import Any

import numpy as np

from comparisons.workloads import COEFFICIENT, Perceptrons, Workload, batch, weights


class Peer:
    """normflows on torch, in the configuration that saves memory (reduce_memory=True).

    Kernels and images are turned from `[rows, columns, channels]` to torch's order.

    Args:
        workload: what it is made of.
        tolerance: of the inverse of each block.
    """

    def __init__(self, workload: Workload, tolerance: float = 1e-5):
        import normflows
        import torch

        self.torch, self.normflows, self.tolerance = torch, normflows, tolerance
        self.images = not isinstance(workload, Perceptrons)
        shape = self._channels_first(np.empty((1, *workload.event_shape))).shape[1:]
        blocks = []
        for block in weights(workload):
            net = self._network(workload)
            for layer, (kernel, bias) in zip(list(net.net)[1::2], block, strict=True):
                # Last axis first, as torch has it: outputs, inputs (, rows, columns).
                turned = kernel.transpose(3, 2, 0, 1) if self.images else kernel.T
                layer.weight.data = torch.tensor(turned.astype("float32").copy())
                layer.bias.data = torch.tensor(bias.astype("float32"))
            blocks.append(
                normflows.flows.Residual(net, reduce_memory=True, n_power_series=workload.terms)
            )
        base = normflows.distributions.DiagGaussian(tuple(shape), trainable=False)
        # Its flows map latents to data, so that the last one meets the data first.
        self.model = normflows.NormalizingFlow(base, blocks[::-1])
        self.data = torch.tensor(self._channels_first(batch(workload)))
        with torch.no_grad():
            for flow in blocks:
                flow.iresblock.nnet(self.data)  # convolutions learn the size of the images
        normflows.utils.update_lipschitz(self.model, 200)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-6)

    def _network(self, workload: Workload) -> Any:
        nets, shapes = self.normflows.nets, workload.kernel_shapes
        channels = [shapes[0][-2], *(shape[-1] for shape in shapes)]
        options = {"lipschitz_const": COEFFICIENT, "init_zeros": False}
        if not self.images:
            return nets.LipschitzMLP(channels, **options)
        return nets.LipschitzCNN(channels, [shape[0] for shape in shapes], **options)

    def _channels_first(self, images: np.ndarray) -> np.ndarray:
        return np.moveaxis(images, -1, 1).copy() if self.images else images

    def train_step(self) -> None:
        """One step of Adam, and the power iterations that the peer does after each."""
        self.model.train()
        self.optimizer.zero_grad()
        self.model.forward_kld(self.data).backward()
        self.optimizer.step()
        self.normflows.utils.update_lipschitz(self.model, 5)  # its layers' own default

    def log_prob(self) -> np.ndarray:
        """Log-densities of the batch in evaluation mode, `[batch]`."""
        self.model.eval()
        with self.torch.no_grad():
            return self.model.log_prob(self.data.detach()).numpy()  # it marks what it is given

    def set_tolerance(self, tolerance: float) -> None:
        """Sets the tolerance of the inverse; the peer compares a squared step with it."""
        self.tolerance = tolerance

    def invert(self) -> np.ndarray:
        """The batch, taken for latents, as data `[batch, size]`, channels last."""
        self.model.eval()
        with self.torch.no_grad():
            y = self.data
            for block in self.model.flows:
                y = block.iresblock._inverse_fixed_point(y, self.tolerance, self.tolerance)
        x = y.numpy()
        return (np.moveaxis(x, 1, -1) if self.images else x).reshape(len(x), -1)

    def truth(self) -> np.ndarray:
        """What `invert` should give: that of the same weights in float64."""
        data, tolerance = self.data, self.tolerance
        self.model.double()
        self.data, self.tolerance = data.double(), 1e-24
        result = self.invert()
        self.model.float()
        self.data, self.tolerance = data, tolerance
        return result
