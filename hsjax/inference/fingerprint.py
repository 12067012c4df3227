"""What decides the answers of a run, as hashes: two that agree in them answer alike."""

from pathlib import Path

from hsjax.atomic import file_hash
from hsjax.inference.calibration import calibration_path
from hsjax.inference.parameters import parameters_hash
from hsjax.inference.predict import Run

# of a workdir: what a loaded run is made of, beside its parameters
FILES = (
    "config.json",
    "taxonomy.json",
    "tokenizer.json",
    "features.json",
    "labels.safetensors",
    "costs.csv",
)


def run_facts(workdir: Path | str, run: Run) -> dict[str, str | int]:
    """Step, edition, and hashes of the parameters and of every file of the workdir.

    Places are not part of it: a run whose folder or feature stores have moved is the
    same.
    """
    files = {name: Path(workdir) / name for name in FILES}
    return {
        "step": run.step,
        "edition": run.tree.edition,
        "parameters": parameters_hash((run.params, run.stats)),
        **{name: file_hash(path) for name, path in files.items() if path.is_file()},
    }


def answer_facts(
    workdir: Path, *, calibration: Path | str, cost_matrix: Path | str
) -> dict[str, str]:
    """Hashes of the files that change what a run answers, where there are any.

    Args:
      calibration: of `calibration_path`; cost_matrix: a file, '' = the run's own.
    """
    files = {"calibration": calibration_path(workdir, calibration)}
    files["cost_matrix"] = Path(cost_matrix) if cost_matrix else None
    return {name: file_hash(path) for name, path in files.items() if path}
