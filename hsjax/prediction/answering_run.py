"""The run, or the cascade, that answers by some files, and what decides its answers."""

import time
from collections.abc import Mapping
from pathlib import Path

from hsjax.data.quarantine import CatalogueError
from hsjax.expected_cost import COST
from hsjax.inference.fingerprint import answer_facts, run_facts
from hsjax.inference.predict import Run, load_run
from hsjax.prediction.cascaded import Cascaded, open_cascade


def answering_run(
    workdir: Path | str | None,
    features: Mapping,
    files: Mapping,
    cascade: Path | str = "",
) -> tuple[Run | Cascaded, dict, float]:
    """A run that answers by these files, and what decides its answers.

    Args:
      files: calibration and cost_matrix, see `predict_catalogue`.
      cascade: folder of one that answers in place of the run, see `open_cascade`.

    Returns:
      The run, the hashes that decide its answers, and the seconds that it took to load;
      those of the hashes are not among them, unless it is a cascade.

    Raises:
      CatalogueError: a run without classes, files that cannot be read.
      WorkdirError: no workdir of a run.
    """
    start = time.perf_counter()
    if cascade:
        run, facts = open_cascade(Path(cascade), features)
        return run, facts, time.perf_counter() - start
    workdir = Path(workdir)
    decode = COST if files["cost_matrix"] else ""
    run = load_run(workdir, features=features, decode=decode, **files)
    loading = time.perf_counter() - start
    if not run.config.objective.classification:
        raise CatalogueError(f"{workdir} has learnt no classes: train it with a head")
    facts = run_facts(workdir, run) | answer_facts(workdir, **files)
    return run, facts, loading
