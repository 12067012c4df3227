"""The files that make a workdir: its config, its tree, and whether it may go on."""

import contextlib
import functools
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from hsjax.atomic import file_hash, write_atomically
from hsjax.train.checkpoint import checkpoint_steps
from hsjax.train.config import (
    MAY_CHANGE,
    WorkdirError,
    config_hash,
    flatten,
    plain,
    read_config,
)
from hsjax.train.environment import differences, environment
from hsjax.train.source import another_source, as_kept, described_source

log = logging.getLogger("hsjax")

LENGTHS = {"train.steps", "train.epochs"}
OTHER_TASKS = ("extract.", "harden.", "prepare.", "recategorize.")
# files that a config reads rows, labels and names from
FILES = ("data.path", "data.label_map", "taxonomy.path", "taxonomy.names")
FILES += ("eval.cost_matrix",)


class ConfigError(ValueError):
    """A config that cannot be run, told in words for the user."""


@contextlib.contextmanager
def blamed_on(key: str) -> Iterator[None]:
    """A ValueError inside is a mistake in this key of the config."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


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
    if refused := other_settings(config, workdir):
        lines = "\n".join(f"  {line}" for line in refused)
        raise WorkdirError(
            f"{workdir} holds another experiment; take a new workdir, or set"
            f" back:\n{lines}"
        )
    _warn_of_another_place(workdir)
    return before


def other_settings(config: ConfigDict, workdir: Path) -> list[str]:
    """`key: old -> new` of each key that makes this config another experiment.

    Last, where `init_from` is trained anew, what has changed of it.
    """
    before = read_config(workdir)
    config = as_kept(config, before, workdir)
    old, new = flatten(plain(before)), flatten(plain(config))
    differing = {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}
    # no run hangs on what other tasks were told, nor on where a store lies
    free = set(MAY_CHANGE) | {
        key
        for key in differing
        if key.startswith(OTHER_TASKS)
        or (key.startswith("data.features.") and old.get(key) and new.get(key))
    }
    if _is_reported(before, workdir) and not differing & LENGTHS:
        # nothing is left to be monitored
        free |= {key for key in differing if key.startswith("eval.")}
    refused = sorted(differing - free)
    told = [f"{key}: {_told(old, key)} -> {_told(new, key)}" for key in refused]
    return told + [*filter(None, [another_source(config, workdir)])]


def _told(flat: dict, key: str) -> str:
    return repr(flat[key]) if key in flat else "absent"


def _warn_of_another_place(workdir: Path) -> None:
    told = differences(_read(workdir / "config.json").get("environment", {}))
    if told:
        log.warning(
            "%s goes on elsewhere than it was begun, so not bit for bit: %s",
            workdir,
            told,
        )


def write_config(config: ConfigDict, workdir: Path, *, manifest: str = "") -> None:
    """`config.json`: every key, their hash, and what the run is made of and on.

    Args:
      manifest: hash of the rows and their parts.
    """
    if jax.process_index() == 0:
        path, here = workdir / "config.json", environment()
        begun = path.exists() and holds_results(workdir)
        document = {
            "config": plain(config),
            "hash": config_hash(config),
            # where the run began; later starts are compared with that
            "environment": _read(path).get("environment", here) if begun else here,
            "last_environment": here,
            "files": {k: [*x[1:], digest(*x)] for k, x in source_files(config).items()},
            "source": _read(path).get("source") if begun else described_source(config),
            "manifest": manifest or None,
        }
        text = json.dumps(document, indent=1) + "\n"
        write_atomically(workdir / "config.json", text)


def holds_results(workdir: Path) -> bool:
    """Is there a checkpoint or a report?"""
    return (workdir / "report.json").exists() or bool(checkpoint_steps(workdir))


def source_files(config: ConfigDict) -> dict[str, tuple[Path, int, int]]:
    """Key -> (path, bytes, time of change in ns) of every file of rows."""
    paths = {key: Path(config[key]) for key in FILES if config[key]}
    listed = [str(x) for x in config.data.leave_out if str(x).endswith(".csv")]
    paths |= {f"data.leave_out {path}": Path(path) for path in listed}
    tables = config.taxonomy.correlation
    paths |= {f"taxonomy.correlation {path}": Path(path) for path in tables}
    # of a prepared folder, the file that tells what is in the others
    paths = {k: p / "manifest.json" if p.is_dir() else p for k, p in paths.items()}
    stats = {key: (p, p.stat()) for key, p in paths.items() if p.is_file()}
    return {key: (p, x.st_size, x.st_mtime_ns) for key, (p, x) in stats.items()}


@functools.lru_cache(64)
def digest(path: Path, size: int, changed: int) -> str:
    """sha256 of a file; its size and time tell one state of it from another."""
    return file_hash(path)


def is_done(config: ConfigDict, workdir: Path) -> bool:
    """Is there a report of this very config, its files and its source as they were?

    A file that was copied or unpacked again has another time of change: then what is in
    it is compared.
    """
    if not _is_reported(config, workdir) or another_source(config, workdir):
        return False
    return not changed_files(config, workdir)


def changed_files(config: ConfigDict, workdir: Path) -> list[str]:
    """Keys of the files that hold something else than when the run was written."""
    files, kept = source_files(config), _read(workdir / "config.json").get("files")
    if kept is None:
        return []
    there = kept.keys() & files.keys()
    same = {key for key in there if _same(kept[key], files[key])}
    return sorted((kept.keys() | files.keys()) - same)


def _same(kept: Sequence, now: tuple[Path, int, int]) -> bool:
    """`kept`: bytes, time and, of newer runs, the digest."""
    if [*kept[:2]] == [*now[1:]]:
        return True
    return kept[0] == now[1] and len(kept) > 2 and kept[2] == digest(*now)


def _is_reported(config: ConfigDict, workdir: Path) -> bool:
    known = _report_context(workdir).get("config_hash")
    if known in (None, config_hash(config)):
        return known is not None
    path = workdir / "config.json"
    if not path.exists() or known != _read(path).get("hash"):
        return False
    # reported before some keys were there: their old values are those of `read_config`
    before = read_config(workdir)
    return plain(before) == plain(as_kept(config, before, workdir))


def _report_context(workdir: Path) -> dict:
    path = workdir / "report.json"
    return _read(path).get("context", {}) if path.exists() else {}


def check_rows(workdir: Path, manifest: str) -> None:
    """Are the checkpoints and the report, if there are any, of these rows and parts?

    Raises:
      WorkdirError: they are of others.
    """
    known = _report_context(workdir).get("manifest")
    path = workdir / "config.json"
    if known is None and path.exists() and holds_results(workdir):
        known = _read(path).get("manifest")
    check_manifest(known, manifest, workdir)


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


def _read(path: Path) -> dict:
    """A JSON file of a run; WorkdirError: it is torn."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise WorkdirError(
            f"{path} is torn ({error}): remove it, and the same command makes it anew"
        ) from None
