"""The devices of a run: how jax is set up, and the mesh of them."""

import os

import jax
from jax.sharding import Mesh

from hsjax.sharding import make_mesh
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


def training_mesh(config) -> Mesh:
    """The mesh of `config.train`.

    Raises:
      ConfigError: there is no GPU for cuDNN; there are too few devices, or they, or
        they times the parts that a batch is computed in, do not divide the batch.
    """
    train, rows = config.train, config.data.batch_size
    if config.model.attention == "cudnn" and jax.default_backend() != "gpu":
        raise ConfigError(
            f"model.attention is 'cudnn', and jax computes on {jax.default_backend()};"
            " leave it at auto, or install jax[cuda12] where there is a GPU"
        )
    try:
        mesh = make_mesh(train.data_devices, train.fsdp_devices)
    except ValueError as error:
        raise ConfigError(
            f"{error}; lower train.data_devices or train.fsdp_devices"
        ) from None
    if rows % mesh.size:
        raise ConfigError(
            f"data.batch_size is {rows}, no multiple of {mesh.size} devices; change it,"
            " or lower train.data_devices"
        )
    if rows % (mesh.size * train.micro_batches):
        raise ConfigError(
            f"data.batch_size is {rows}, no multiple of {train.micro_batches} parts x"
            f" {mesh.size} devices; change it, or train.micro_batches"
        )
    return mesh
