"""Peers that a benchmark needs and the project does not install."""

import importlib.util

import jax

from hsjax.train.workdir import ConfigError


def check_torch(bench: str, used: str = "PyTorch") -> None:
    """Raises ConfigError: torch is not installed.

    Args:
      used: what of it the benchmark compares with.
    """
    if not importlib.util.find_spec("torch"):
        raise ConfigError(
            f"bench {bench} compares with {used}, which is not installed: pip install"
            " torch"
        )


def peer_device(bench: str) -> tuple[str, dict]:
    """(torch's device where jax computes, what a result says of both).

    Raises:
      ConfigError: jax has an accelerator that the installed torch cannot use.
    """
    import torch

    kind = jax.devices()[0].device_kind
    facts = {"device": kind, "jax": jax.__version__, "torch": torch.__version__}
    if jax.default_backend() == "cpu":
        return "cpu", facts
    if not torch.cuda.is_available():
        raise ConfigError(
            f"bench {bench}: jax computes on {kind} and torch {torch.__version__} has"
            " no CUDA: install torch for CUDA, or set JAX_PLATFORMS=cpu for both"
        )
    return "cuda", facts
