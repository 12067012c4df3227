"""What a run computes on: how jax is set up, and the mesh of its devices."""

import os
from collections.abc import Sequence

import jax
from jax.sharding import Mesh

from hsjax.sharding import batch_pieces, make_mesh
from hsjax.train.workdir import ConfigError


def set_up_jax(config) -> None:
    """Before the first computation."""
    # a process keeps its first cache: a warm start loads another run's config, too
    if config.train.compile_cache and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", config.train.compile_cache)
    flags = os.environ.get("XLA_FLAGS", "")
    if config.train.deterministic and "xla_gpu_deterministic" not in flags:
        # no effect on CPU; on GPU scatters and convolutions repeat bit for bit
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true"


def training_mesh(config, devices: Sequence | None = None) -> Mesh:
    """The mesh of `config.train`.

    Args:
      devices: None = all that jax has.

    Raises:
      ConfigError: there is no GPU for cuDNN; there are too few devices, some process
        would have none of them, or they, or they times the parts that a batch is
        computed in, do not divide the batch.
    """
    train, rows = config.train, config.data.batch_size
    if config.model.attention == "cudnn" and jax.default_backend() != "gpu":
        raise ConfigError(
            f"model.attention is 'cudnn', and jax computes on {jax.default_backend()};"
            " leave it at auto, or install jax[cuda12] where there is a GPU"
        )
    try:
        sizes = train.data_devices, train.fsdp_devices, train.tensor_devices
        mesh = make_mesh(*sizes, devices=devices)
    except ValueError as error:
        raise ConfigError(
            f"{error}; lower train.data_devices, train.fsdp_devices or"
            " train.tensor_devices"
        ) from None
    pieces = batch_pieces(mesh)
    if jax.process_count() > 1 and mesh.size < jax.device_count():
        raise ConfigError(
            f"the mesh has {mesh.size} devices, {jax.process_count()} processes have"
            f" {jax.device_count()}: several processes use all of theirs; let"
            " train.data_devices be 0"
        )
    if rows % pieces:
        raise ConfigError(
            f"data.batch_size is {rows}, no multiple of {pieces} devices; change it,"
            " or lower train.data_devices"
        )
    if rows % (pieces * train.micro_batches):
        raise ConfigError(
            f"data.batch_size is {rows}, no multiple of {train.micro_batches} parts x"
            f" {pieces} devices; change it, or train.micro_batches"
        )
    return mesh
