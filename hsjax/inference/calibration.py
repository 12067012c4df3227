"""A calibration of a run's tree distribution, as it is kept beside the model."""

import json
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.data.records import CatalogueError
from hsjax.evaluation.certainty import Certainty
from hsjax.evaluation.tree_calibration import TreeCalibration
from hsjax.inference.parameters import parameters_hash

FILE = "calibration.json"  # of a workdir
OWN, NONE = "own", "none"  # in place of a file
FORMAT = 2


def kept_hash(workdir: Path) -> str:
    """Of the config of a run, wherever its stores lie now."""
    return json.loads((workdir / "config.json").read_text())["hash"]


def write_calibration(calibration: TreeCalibration, folder: Path) -> None:
    """`calibration.json`, for `read_calibration`."""
    told = {"format": FORMAT, **calibration._asdict()}
    told["certainty"] = {
        name: x.tolist() if isinstance(x, np.ndarray) else x
        for name, x in calibration.certainty._asdict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, json.dumps(told, indent=1) + "\n")


def calibration_path(workdir: Path, asked: Path | str) -> Path | None:
    """The file that is meant; None = probabilities as they are.

    Args:
      asked: a file; `none`; `own`, that of the workdir; '' = that one if it is there.

    Raises:
      CatalogueError: there is no such file.
    """
    if str(asked) == NONE:
        return None
    path = workdir / FILE if str(asked) in ("", OWN) else Path(asked)
    if not path.is_file():
        if not str(asked):
            return None
        made = f"python -m hsjax.calibrate --run={workdir}"
        raise CatalogueError(f"--calibration={asked}: no file {path}; {made} makes one")
    return path


def kept_calibration(
    workdir: Path, asked: Path | str, step: int, variables
) -> TreeCalibration | None:
    """The calibration that is meant, see `calibration_path`.

    Args:
      step, variables: of the best checkpoint; its parameters and statistics.

    Raises:
      CatalogueError: no calibration, or one of another model or training: a run that
        was trained anew may have the same config and step, but not the same parameters.
    """
    path = calibration_path(workdir, asked)
    if path is None:
        return None
    try:
        found = json.loads(path.read_text())
        if found.pop("format") != FORMAT:
            raise ValueError(f"of another version of hsjax: {_again(workdir)}")
        table = found.pop("certainty")
        rows = table.pop("rows")
        arrays = {name: np.array(x) for name, x in table.items()}
        own = {name: tuple(found.pop(name)) for name in ("temperature", "maps")}
        own["certainty"] = Certainty(**arrays, rows=rows)
        calibration = TreeCalibration(**found, **own)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogueError(f"{path}: no calibration to read: {error}") from None
    fitted = (calibration.step, calibration.config, calibration.parameters)
    now = (step, kept_hash(workdir), parameters_hash(variables))
    if fitted != now:
        raise CatalogueError(
            f"{path} was fitted to another model ({_called(*fitted)}) than {workdir} is"
            f" now ({_called(*now)}): {_again(workdir)}, or give --calibration=none"
        )
    return calibration


def _called(step: int, config: str, parameters: str) -> str:
    return f"step {step:,}, config {config[:12]}, parameters {parameters[:12]}"


def _again(workdir: Path) -> str:
    return f"fit it again by python -m hsjax.calibrate --run={workdir}"
