"""What a workdir keeps beside its config and checkpoints, to answer from it later."""

import json
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from hsjax.atomic import finished, write_atomically
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import WorkdirError
from hsjax.train.workdir import holds_results


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
    if jax.process_index() == 0 and not known:
        tree.save(path)


def keep_encoders(entries: Mapping[str, dict], workdir: Path) -> None:
    """Writes `published.json`: tower -> `kept_form` of its encoder; {} removes it."""
    _keep(entries, workdir / "published.json")


def kept_encoders(workdir: Path) -> dict[str, dict]:
    """What `keep_encoders` wrote, {} where every tower is the config's own."""
    path = Path(workdir) / "published.json"
    return _read(path) if path.exists() else {}


def kept_published(workdir: Path) -> dict[str, dict]:
    """{tower: config.json} of the published encoders of a run."""
    return {tower: x["config"] for tower, x in kept_encoders(workdir).items()}


def keep_stores(entries: Mapping[str, dict], workdir: Path) -> None:
    """Writes `features.json`: modality -> folder and facts of its store; {} removes it.

    See `described_stores`.
    """
    _keep(entries, workdir / "features.json")


def kept_stores(workdir: Path) -> dict[str, dict]:
    """What `keep_stores` wrote, {} where every modality is raw."""
    path = Path(workdir) / "features.json"
    return _read(path) if path.exists() else {}


def _keep(document: Mapping, path: Path) -> None:
    """A file of the first try may be there, of what the run no longer uses."""
    if jax.process_index():
        return
    if not document:
        path.unlink(missing_ok=True)
        return
    write_atomically(path, json.dumps(document, indent=1, sort_keys=True) + "\n")


def write_train_rows(hashes: np.ndarray, workdir: Path) -> None:
    """`train_rows.npy`: sorted hashes of the training rows, to be known again."""
    if jax.process_index() == 0:
        path = workdir / "train_rows.npy"
        with finished(path) as partial, partial.open("wb") as file:
            np.save(file, np.unique(hashes))


def read_train_rows(workdir: Path) -> np.ndarray:
    """What `write_train_rows` wrote; empty where an older version made the workdir."""
    path = Path(workdir) / "train_rows.npy"
    return np.load(path) if path.exists() else np.zeros(0, np.uint64)


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
