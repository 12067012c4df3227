"""A report that lies in a folder, an older one by the names of today."""

import json
import re
from pathlib import Path

from hsjax.data.records import CatalogueError
from hsjax.evaluation.metrics import labelled
from hsjax.evaluation.path_measures import decode_ratios
from hsjax.evaluation.predictions import read_predictions

# was the share of rows whose last node is right
OLD = re.compile(r"decode/(\w+)/leaf_accuracy(\w*)")
APART = "independent"  # whose last node may be right where its path is none


def read_report(folder: Path) -> dict:
    """`report.json`, its metrics by today's names.

    Reports that were written before `decode/NAME/path_accuracy` have the share of right
    last nodes, which is the same for all decodes that answer a path; for levels each by
    themselves the predictions beside the report are counted anew, where there are any.

    Raises:
      CatalogueError: it cannot be read.
    """
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path} cannot be read: {error}") from None
    metrics = report.get("metrics", {})
    old = {name: found for name in metrics if (found := OLD.fullmatch(name))}
    for name, found in old.items():
        value, (decode, bound) = metrics.pop(name), found.groups()
        if decode != APART:
            metrics[f"decode/{decode}/path_accuracy{bound}"] = value
    if f"decode/{APART}/leaf_accuracy" in old:
        metrics |= _whole_paths(folder / "predictions.parquet")
    return report


def _whole_paths(path: Path) -> dict[str, float]:
    """What an old report does not say, {} without predictions."""
    if not path.exists():
        return {}
    name = f"decode/{APART}/path_accuracy"
    right, every = decode_ratios(labelled(read_predictions(path)))[name]
    return {name: float(right.sum() / every.sum())}
