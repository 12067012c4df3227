"""How much of what its devices could do a training run does."""

import functools
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from hsjax.batch import BatchSpec
from hsjax.models.build import Model
from hsjax.models.model_flops import training_flops
from hsjax.train.optim import frozen_leaves

# operations a second of dense bfloat16 products, by what jax calls a device; from the
# vendors' data sheets, without the doubling by sparsity
PEAKS = {
    "NVIDIA H200": 989.4e12,
    "NVIDIA H200 NVL": 835.5e12,
    "NVIDIA H100 80GB HBM3": 989.4e12,
    "NVIDIA H100 NVL": 835.5e12,
    "NVIDIA H100 PCIe": 756.0e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L4": 121e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


def peak_flops(mesh: Mesh) -> float | None:
    """Operations a second of all devices; None where one is not known: no guess."""
    peaks = [PEAKS.get(device.device_kind) for device in mesh.devices.flat]
    return None if None in peaks else sum(peaks)


def step_flops(config, model: Model, params) -> Callable[[BatchSpec], int]:
    """`flops(spec)`: operations of the model in a step on such a batch.

    Args:
      params: dict of arrays, of their shapes, or of whatever has their names.
    """
    frozen = frozen_leaves(config.optim, params)
    trained = {name for name, part in frozen.items() if not all(jax.tree.leaves(part))}

    @functools.cache
    def flops(spec: BatchSpec) -> int:
        return training_flops(model.flops(spec, config.data.batch_size), trained)

    return flops


def speed(operations: int, seconds: float, mesh: Mesh) -> dict[str, float]:
    """What a look tells: operations of the model a second, and its share of the peak.

    The share (MFU, Chowdhery et al. 2022, appendix B) is of bfloat16's peak whatever
    the model computes in, and missing where the peak is not known.
    """
    rate, peak = operations / seconds, peak_flops(mesh)
    told = {"model_flops_per_second": rate}
    return told | ({"mfu": rate / peak} if peak else {})
