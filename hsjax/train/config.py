"""The config of a workdir: to JSON, its hash, and back."""

import functools
import hashlib
import json
import logging
from pathlib import Path

from ml_collections import ConfigDict

log = logging.getLogger("hsjax")

# keys younger than the first workdirs, with what was done before there was a choice
LATER = {"taxonomy.names": "", "model.text.bag": 0, "model.text.bag_dropout": 0.3}
LATER |= {"data.features.title": "", "data.features.image": ""}
LATER |= {"model.text.published": "", "model.image.published": ""}
LATER |= {"model.joint_bias": True, "optim.layer_decay": 1.0}
LATER |= {"objective.class_balance": 0.0, "objective.logit_adjustment": 0.0}
LATER |= {"objective.contrastive_kind": "info_nce", "objective.contrastive_bias": -10.0}
LATER |= {"objective.contrastive_form": "dense", "objective.contrastive_chunk": 1024}
LATER |= {"objective.negatives": "all", "objective.hardest": 0}
LATER |= {"objective.tree_softness": 0.5}
LATER |= {"baseline.kind": "svm", "baseline.analyzer": "word"}
LATER |= {"baseline.ngrams": (1, 2), "baseline.penalty": 1.0}
LATER |= {"baseline.calibrate": True, "baseline.features": ""}
LATER |= {"baseline.neighbours": 1}
LATER |= {"prepare.rows_per_shard": 10_000, "prepare.connections": 8}
LATER |= {"prepare.retries": 3, "prepare.timeout": 10.0, "prepare.deadline": 60.0}
LATER |= {"prepare.max_bytes": 20_000_000, "prepare.private_addresses": False}
LATER |= {"prepare.cache": "", "prepare.builder": "", "prepare.manual_dir": ""}
LATER |= {"harden.words": 30, "harden.share": 1.0, "harden.seed": 0}
LATER |= {"model.head.kind": "hierarchical", "model.head.labels": ""}
LATER |= {"model.head.label_mix": "both", "model.head.label_width": 128}
LATER |= {"model.head.label_dropout": 0.5, "model.head.label_rows": ""}
LATER |= {"train.micro_batches": 1, "model.joint_start": "random"}
LATER |= {"data.shots": 0, "data.train_share": 1.0, "data.label_share": 1.0}
LATER |= {"data.leave_out": (), "data.label_source": ""}
LATER |= {"model.modality_dropout_image": -1.0}
LATER |= {"model.fusion.of": "joint", "model.fusion.width": 256}
LATER |= {"model.fusion.joint": 0, "model.fusion.heads": 4}
LATER |= {"model.head.feed_gradient": False}
LATER |= {"objective.mask": "true", "objective.mask_on": "logits"}
LATER |= {"data.text.name_drop": 0.0}
LATER |= {"model.text.random": False, "model.image.random": False}
LATER |= {"data.synthetic.shops": 0, "data.synthetic.style": 1.0}
LATER |= {"data.image.augment": "", "data.image.views": 1, "model.view_width": 128}
LATER |= {"objective.self_supervised": 0.0, "objective.self_temperature": 0.5}
LATER |= {
    "recategorize.branch": "",
    "recategorize.choice": "silhouette",
    "recategorize.clusters": (),
    "recategorize.components": 100,
    "recategorize.dimensions": 5,
    "recategorize.filter": "distance",
    "recategorize.filter_clusters": 20,
    "recategorize.filter_share": 0.9,
    "recategorize.joint": "",
    "recategorize.keep": 0,
    "recategorize.known": 0.5,
    "recategorize.levels": 2,
    "recategorize.linkage": "ward",
    "recategorize.max_clusters": 12,
    "recategorize.method": "cascade",
    "recategorize.min_dist": 0.0,
    "recategorize.min_size": 50,
    "recategorize.min_stability": 0.5,
    "recategorize.names": 3,
    "recategorize.neighbours": 30,
    "recategorize.resamples": 10,
    "recategorize.sample": 10000,
    "recategorize.shown": 8,
    "recategorize.truth": 0,
    "recategorize.vocabulary": "",
}
LATER |= {"taxonomy.correlation": (), "data.columns.edition": ""}
LATER |= {"init_classes": "fresh"}
LATER |= {"eval.cost_matrix": ""}
LATER |= {"model.attention": "auto", "model.scan": False, "model.remat": "none"}
LATER |= {"data.text.buckets": ()}
LATER |= {"train.tensor_devices": 1, "train.activations": ()}
LATER |= {"train.coordinator": "", "train.processes": 0, "train.process": -1}
LATER |= {"train.join_timeout": 300, "train.lost_after": 100}
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
# groups that had another name then
RENAMED = {"svm": "baseline"}


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

    Keys that came later have the value that repeats what was done before.

    Raises:
      WorkdirError: there is none.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        told = "it has no config.json"
        if (Path(workdir) / "artefact.json").exists():
            told = "it is an artefact, which hsjax.load_artefact reads in Python"
        raise WorkdirError(f"{workdir} is no workdir of a run: {told}")
    values = json.loads(path.read_text())["config"]
    values = {RENAMED.get(group, group): value for group, value in values.items()}
    config, later = _stored(values, f"{path} lacks the key "), []
    for key, value in LATER.items():
        *groups, name = key.split(".")
        group = config
        for part in groups:
            if part not in group:
                group[part] = {}
            group = group[part]
        # a text stream may have settings of its own
        own = group.values() if key.startswith("model.text.bag") else ()
        for place in (group, *(x for x in own if isinstance(x, ConfigDict))):
            if name not in place:
                later.append(f"{key}={value!r}")
                place[name] = value
    if later:
        _tell_once(f"{path} is older than these keys: {', '.join(later)} (as it was)")
    return config.lock()


@functools.cache
def _tell_once(text: str) -> None:
    """Commands read the config of a run more than once."""
    log.info(text)


def _tuples(value):
    """JSON knows no tuples, and configs know no lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
