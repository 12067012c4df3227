"""The files that make a workdir: its config, its tree, and whether it may go on."""

import hashlib
import json
import os
import platform
from pathlib import Path

import jax
from ml_collections import ConfigDict

import hsjax
from hsjax.taxonomy import Taxonomy
from hsjax.train.checkpoint import write_atomically

# what may differ when a run goes on: how long, how often, on what
MAY_CHANGE = {
    "train.steps",
    "train.epochs",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
    "train.data_devices",
    "train.fsdp_devices",
    "train.sharding",
    "train.compile_cache",
    "train.tensorboard",
    "data.threads",
    "data.workers",
    "data.prefetch",
}


class ConfigError(ValueError):
    """A config that cannot be run, told in words for the user."""


class WorkdirError(ValueError):
    """A workdir that belongs to another experiment, or to none."""


def flatten(config: dict, prefix: str = "") -> dict:
    """`{'train.steps': 10, ...}` from nested groups."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def config_hash(config: ConfigDict) -> str:
    """sha256 of the canonical JSON of every key."""
    canonical = json.dumps(_plain(config), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _plain(config: ConfigDict) -> dict:
    return json.loads(json.dumps(config.to_dict()))


def environment() -> dict:
    """What a bitwise repetition needs to be the same."""
    return {
        "hsjax": hsjax.__version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "devices": [d.device_kind for d in jax.devices()],
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else 0,
    }


def open_workdir(config: ConfigDict, workdir: Path) -> None:
    """Makes the workdir, or checks that it belongs to this config.

    A workdir without a checkpoint or a report holds nothing worth keeping.

    Raises:
      WorkdirError: lists every key that differs as `key: old -> new`.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "config.json"
    if path.exists() and holds_results(workdir):
        old = flatten(json.loads(path.read_text())["config"])
        new = flatten(_plain(config))
        differing = {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}
        refused = sorted(k for k in differing if not _may_change(k, old, new))
        if refused:
            lines = "\n".join(
                f"  {k}: {old.get(k)!r} -> {new.get(k)!r}" for k in refused
            )
            raise WorkdirError(
                f"{workdir} holds another experiment; take a new workdir, or set"
                f" back:\n{lines}"
            )
    if jax.process_index() == 0:
        document = {
            "config": _plain(config),
            "hash": config_hash(config),
            "environment": environment(),
        }
        write_atomically(path, json.dumps(document, indent=1) + "\n")


def holds_results(workdir: Path) -> bool:
    """Is there a checkpoint or a report?"""
    steps = (workdir / "checkpoints").glob("[0-9]*")
    return (workdir / "report.json").exists() or any(s.name.isdigit() for s in steps)


def _may_change(key: str, old: dict, new: dict) -> bool:
    if key in ("train.steps", "train.epochs"):
        return (new.get(key) or 0) >= (old.get(key) or 0)
    return key in MAY_CHANGE or key.startswith("eval.")


def read_config(workdir: Path) -> ConfigDict:
    """The config of a workdir, frozen; `configs/` is not needed.

    Raises:
      WorkdirError: there is none.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise WorkdirError(f"{workdir} is no workdir of a run: it has no config.json")
    config = ConfigDict(_tuples(json.loads(path.read_text())["config"]))
    return config.lock()


def _tuples(value):
    """JSON knows no tuples, and configs know no lists."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def is_done(config: ConfigDict, workdir: Path) -> bool:
    """Has this very config been carried through to its report?"""
    report = workdir / "report.json"
    if not report.exists():
        return False
    context = json.loads(report.read_text()).get("context", {})
    return context.get("config_hash") == config_hash(config)


def keep_taxonomy(tree: Taxonomy, workdir: Path) -> None:
    """Writes `taxonomy.json`, or checks it.

    Raises:
      WorkdirError: the workdir was trained on another tree.
    """
    path = workdir / "taxonomy.json"
    known = path.exists() and holds_results(workdir)
    if known and Taxonomy.load(path) != tree:
        raise WorkdirError(
            f"{path} is another tree than the one of this catalogue; take a new workdir"
        )
    if jax.process_index() == 0:
        tree.save(path)
