"""The config of a workdir: to JSON, its hash, and back."""

import hashlib
import json
from pathlib import Path

from ml_collections import ConfigDict

# what may differ when a run goes on: how long, how often, on what, and what of the
# report has no part in choosing the best checkpoint. `check_length` looks at lengths
MAY_CHANGE = {
    "model.attention",
    "model.scan",
    "model.remat",
    "train.steps",
    "train.epochs",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
    "train.data_devices",
    "train.fsdp_devices",
    "train.tensor_devices",
    "train.sharding",
    "train.activations",
    "train.coordinator",
    "train.processes",
    "train.process",
    "train.join_timeout",
    "train.lost_after",
    "train.micro_batches",
    "train.compile_cache",
    "train.tensorboard",
    "data.threads",
    "data.workers",
    "data.prefetch",
    "data.label_source",
    "eval.parts",
    "eval.bootstrap",
    "eval.topk",
}


class WorkdirError(ValueError):
    """A workdir that belongs to another experiment, or to none."""


class MissingKey(WorkdirError, AttributeError):
    """The config of a workdir lacks a key that this version reads."""


def flatten(config: dict | ConfigDict, prefix: str = "") -> dict:
    """`{'train.steps': 10, ...}` from nested groups."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict | ConfigDict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def config_hash(config: ConfigDict) -> str:
    """sha256 of the canonical JSON of every key."""
    canonical = json.dumps(plain(config), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def plain(config: ConfigDict) -> dict:
    """As JSON would give it back: lists for tuples."""
    return json.loads(json.dumps(config.to_dict()))


class _StoredConfig(ConfigDict):
    """A config read from a file, which says where a key is missing."""

    _place = "the config lacks the key "  # of a copy; else with the file and the group

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            raise MissingKey(
                f"{self._place}{name}: another version of hsjax wrote it; add the key"
                " with the value of configs/base.py, or go back to that version"
            ) from None


def gives_classes(config) -> bool:
    """Has a run a probability for every class? One that is only aligned has none."""
    return config.task == "baseline" or bool(config.objective.classification)


def _stored(values: dict, place: str) -> _StoredConfig:
    config = _StoredConfig()
    # as ConfigDict keeps its own attributes, beside the keys
    object.__setattr__(config, "_place", place)
    for key, value in values.items():
        group = isinstance(value, dict)
        config[key] = _stored(value, f"{place}{key}.") if group else _tuples(value)
    return config


def read_config(workdir: Path) -> ConfigDict:
    """The config of a workdir, frozen; `configs/` is not needed.

    A key that another version wrote and this one reads is a `MissingKey` when it is
    asked for: what was done without it is not guessed.

    Raises:
      WorkdirError: there is none.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        told = "it has no config.json"
        if not Path(workdir).exists():
            told = "there is no such folder"
        if (Path(workdir) / "artefact.json").exists():
            told = "it is an artefact, which hsjax.load_artefact reads in Python"
        raise WorkdirError(f"{workdir} is no workdir of a run: {told}")
    values = json.loads(path.read_text())["config"]
    return _stored(values, f"{path} lacks the key ").lock()


def _tuples(value):
    """JSON knows no tuples, and configs know no lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
