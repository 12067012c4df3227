"""The files that make a workdir: its config, its tree, and whether it may go on."""

import contextlib
import json
import logging
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import jax
from ml_collections import ConfigDict

import hsjax
from hsjax.taxonomy import Taxonomy
from hsjax.train.checkpoint import checkpoint_steps, write_atomically
from hsjax.train.config import (
    WorkdirError,
    config_hash,
    flatten,
    plain,
    read_config,
)

log = logging.getLogger("hsjax")

# what may differ when a run goes on: how long, how often, on what, and what of the
# report has no part in choosing the best checkpoint. `check_length` looks at lengths
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
    "eval.parts",
    "eval.bootstrap",
    "eval.topk",
}
LENGTHS = {"train.steps", "train.epochs"}
# files that a config reads rows, labels and names from
FILES = ("data.path", "data.label_map", "taxonomy.path", "taxonomy.names")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "grain", "orbax-checkpoint")


class ConfigError(ValueError):
    """A config that cannot be run, told in words for the user."""


@contextlib.contextmanager
def blamed_on(key: str) -> Iterator[None]:
    """A ValueError inside is a mistake in this key of the config."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


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


def open_workdir(config: ConfigDict, workdir: Path) -> ConfigDict | None:
    """Makes the workdir, or checks that it belongs to this config.

    Returns the config that it was made with; None where there is neither a checkpoint
    nor a report, nothing worth keeping.

    Raises:
      WorkdirError: lists every key that differs as `key: old -> new`.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    if not (workdir / "config.json").exists() or not holds_results(workdir):
        return None
    before = read_config(workdir)
    old, new = flatten(plain(before)), flatten(plain(config))
    differing = {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}
    # no run hangs on what the task `extract` was told
    free = set(MAY_CHANGE) | {key for key in differing if key.startswith("extract.")}
    if _is_reported(before, workdir) and not differing & LENGTHS:
        # nothing is left to be monitored
        free |= {key for key in differing if key.startswith("eval.")}
    if refused := sorted(differing - free):
        lines = "\n".join(f"  {k}: {_told(old, k)} -> {_told(new, k)}" for k in refused)
        raise WorkdirError(
            f"{workdir} holds another experiment; take a new workdir, or set"
            f" back:\n{lines}"
        )
    _compare_environment(workdir)
    return before


def _told(flat: dict, key: str) -> str:
    return repr(flat[key]) if key in flat else "absent"


def _compare_environment(workdir: Path) -> None:
    old, new = _read(workdir / "config.json").get("environment", {}), environment()
    differing = [
        f"{key} {old[key]} -> {new[key]}"
        for key in new
        if key in old and old[key] != new[key]
    ]
    if differing:
        log.warning(
            "%s goes on elsewhere than it was begun, so not bit for bit: %s",
            workdir,
            ", ".join(differing),
        )


def write_config(config: ConfigDict, workdir: Path) -> None:
    """`config.json`: every key, their hash, and what the run is made of and on."""
    if jax.process_index() == 0:
        document = {
            "config": plain(config),
            "hash": config_hash(config),
            "environment": environment(),
            "files": source_files(config),
        }
        text = json.dumps(document, indent=1) + "\n"
        write_atomically(workdir / "config.json", text)


def holds_results(workdir: Path) -> bool:
    """Is there a checkpoint or a report?"""
    return (workdir / "report.json").exists() or bool(checkpoint_steps(workdir))


def source_files(config: ConfigDict) -> dict[str, list[int]]:
    """Key -> [bytes, time of change in ns] of every file that is read for rows."""
    paths = {key: Path(config[key]) for key in FILES if config[key]}
    stats = {key: path.stat() for key, path in paths.items() if path.is_file()}
    return {key: [stat.st_size, stat.st_mtime_ns] for key, stat in stats.items()}


def is_done(config: ConfigDict, workdir: Path) -> bool:
    """Is there a report of this very config, and are its files as they were?"""
    if not _is_reported(config, workdir):
        return False
    files = source_files(config)
    return _read(workdir / "config.json").get("files", files) == files


def _is_reported(config: ConfigDict, workdir: Path) -> bool:
    return _report_context(workdir).get("config_hash") == config_hash(config)


def _report_context(workdir: Path) -> dict:
    path = workdir / "report.json"
    return _read(path).get("context", {}) if path.exists() else {}


def check_report(workdir: Path, manifest: str) -> None:
    """Is the report, if there is one, of these rows and this split?

    Raises:
      WorkdirError: it is of others.
    """
    check_manifest(_report_context(workdir).get("manifest"), manifest, workdir)


def check_manifest(known: str | None, manifest: str, workdir: Path) -> None:
    """Are these the rows and the split that the workdir knows?

    Raises:
      WorkdirError: they are others.
    """
    if known not in (None, manifest):
        raise WorkdirError(
            f"{workdir} was trained on other rows or another split: the catalogue has"
            " changed since; take a new workdir, or init_from for a warm start"
        )


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


def keep_published(configs: Mapping[str, dict], workdir: Path) -> Mapping[str, dict]:
    """Writes `published.json`: tower -> config.json of its encoder."""
    if configs and jax.process_index() == 0:
        text = json.dumps(configs, indent=1, sort_keys=True) + "\n"
        write_atomically(workdir / "published.json", text)
    return configs


def kept_published(workdir: Path) -> dict[str, dict]:
    """What `keep_published` wrote, {} where every tower is the config's own."""
    path = workdir / "published.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write_train_counts(counts: Mapping[str, int], workdir: Path) -> None:
    """`train_counts.json`: node code -> training rows, for whoever scores the run."""
    if jax.process_index() == 0:
        text = json.dumps(counts, indent=0) + "\n"
        write_atomically(workdir / "train_counts.json", text)


def read_train_counts(workdir: Path) -> dict[str, int] | None:
    """What `write_train_counts` wrote; None where an older version made the workdir."""
    path = Path(workdir) / "train_counts.json"
    return _read(path) if path.exists() else None


def _read(path: Path) -> dict:
    return json.loads(path.read_text())
