"""The run that another one starts from, `init_from`: is it finished, is it the same?"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from hsjax.train.config import (
    MAY_CHANGE,
    WorkdirError,
    flatten,
    plain,
    read_config,
)

log = logging.getLogger("hsjax")

# groups of keys that no parameter hangs on
IDLE = ("eval.", "extract.", "harden.", "prepare.", "init_from")
WORDS = {"config": "its config", "rows": "its rows", "step": "its best step"}


def described_source(config: ConfigDict) -> dict | None:
    """What tells the run of `init_from` from one that was trained anew.

    A hash of its config, of its rows, its best step and the value that was monitored
    there, which no other training has to the last digit. None: there is no such run.
    """
    if not config.init_from or not is_run(Path(config.init_from)):
        return None
    workdir = Path(config.init_from)
    return {
        "config": _experiment(read_config(workdir)),
        "rows": _read(workdir / "config.json").get("manifest"),
        "step": None,
        "value": None,
        **_read(workdir / "best.json"),
    }


def is_run(workdir: Path) -> bool:
    return (workdir / "config.json").is_file()


def is_finished(workdir: Path) -> bool:
    """Is there a run, and a report of it as it was asked for last?"""
    if not is_run(workdir):
        return False
    known = _read(workdir / "report.json").get("context", {}).get("config_hash")
    return known is not None and known == _read(workdir / "config.json").get("hash")


def check_source(config: ConfigDict) -> None:
    """Is there a run to start from? One that is not finished is told in the log.

    Raises:
      WorkdirError: there is none.
    """
    source = Path(config.init_from)
    if not is_run(source):
        raise WorkdirError(
            f"init_from={source} is no workdir of a run: it has no config.json; train"
            " it first, or name another folder"
        )
    if not is_finished(source):
        log.warning(
            "init_from=%s has no report yet: its best step so far is taken; a run that"
            " starts there is refused once the other has a better one",
            source,
        )


def another_source(config: ConfigDict, workdir: Path) -> str:
    """What has changed of the run that a workdir started from, '' = nothing.

    Runs of older versions do not know what they started from, and what is gone is not
    read again.
    """
    kept, now = _read(workdir / "config.json").get("source"), described_source(config)
    told = _differences(kept, now) if kept and now else ""
    return told and (
        f"init_from: {config.init_from} is no longer what this run started from"
        f" ({told}); remove {workdir} to start from it as it is now"
    )


def as_kept(config: ConfigDict, before: ConfigDict, workdir: Path) -> ConfigDict:
    """A config that names its source where it lay, if it is the same wherever it lies.

    Args:
      before: the config of the workdir.
    """
    old, new = before.init_from, config.init_from
    if not old or not new or old == new:
        return config
    if Path(old).resolve() != Path(new).resolve():
        kept = _read(workdir / "config.json").get("source")
        now = described_source(config)
        if not kept or not now or _differences(kept, now):
            return config
    config = config.copy_and_resolve_references().unlock()
    config.init_from = old
    return config.lock()


def _experiment(config: ConfigDict) -> str:
    """sha256 of the keys that parameters hang on, in whatever place."""
    keys = {
        key: bool(value) if key.startswith("data.features.") else value
        for key, value in flatten(plain(config)).items()
        if not key.startswith(IDLE) and key not in MAY_CHANGE
    }
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()


def _differences(kept: Mapping, now: Mapping) -> str:
    """`its best step 40 -> 60`, of all that differs."""
    told = []
    for key in (key for key in kept if kept[key] != now.get(key)):
        if key in ("config", "rows"):
            told.append(f"{WORDS[key]} changed")
        else:
            told.append(f"{WORDS.get(key, key)} {kept[key]} -> {now.get(key)}")
    return ", ".join(told)


def _read(path: Path) -> dict:
    """A JSON file of a run, {} where there is none; WorkdirError: it is torn."""
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise WorkdirError(f"{path} is torn ({error})") from None
