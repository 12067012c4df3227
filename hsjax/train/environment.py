"""What a bitwise repetition needs to be the same: versions, devices, cores."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version

import jax

import hsjax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "grain", "orbax-checkpoint")


def environment() -> dict:
    """What a bitwise repetition needs to be the same."""
    return {
        "hsjax": hsjax.__version__,
        **{name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "devices": [d.device_kind for d in jax.devices()],
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else 0,
    }


def differences(before: Mapping) -> str:
    """`name old -> new` of what was otherwise in an environment, '' = nothing."""
    return ", ".join(
        f"{key} {before[key]} -> {value}"
        for key, value in environment().items()
        if key in before and before[key] != value
    )
