"""Peers that a benchmark needs and the project does not install."""

import importlib.util

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
