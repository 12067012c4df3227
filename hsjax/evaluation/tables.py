"""The report of a run: `report.md` for people, `report.json` for programs."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hsjax.atomic import write_atomically
from hsjax.evaluation.errors import error_sections
from hsjax.evaluation.level_table import level_table
from hsjax.evaluation.markdown import DASH, cell, table
from hsjax.evaluation.measures import right_paths
from hsjax.evaluation.metrics import labelled
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.rarity import frequency_table, unseen_table

HEADER = {"run": "run", "data": "data", "label_source": "labels"}
HEADER |= {"train_label_source": "labels of the training part"}
HEADER |= {name: name for name in ("part", "step", "taxonomy")}
HASH_DIGITS = 12  # of the config hash; report.json has them all
# beside the head and what the context brings: what needs no classes
UNCLASSIFIED = ("Retrieval", "Quarantine", "Technical details")


def write_report(
    directory: Path | str,
    predictions: Predictions,
    metrics: Mapping[str, float],
    *,
    context: Mapping,
) -> None:
    """Writes `report.md` and `report.json` into the directory.

    Args:
      metrics: of `score`.
      context: what the numbers were measured on. `run`, `data`, `part`, `step` and
        `taxonomy` head the report, `compiled_after_warmup` and `config_hash` end it;
        `label_source`, where the labels are from, is its first sentence and stands at
        the top of the JSON; `train_label_source` is of a run that is scored by others;
        `names` (node code -> name for people) explains HS codes; `sections` (title ->
        Markdown) go into the text; `quarantine` ({(reason, action): rows}) is a table;
        `classified` = False leaves out what an untrained head would be scored by;
        anything else goes to the JSON only.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    apart = ("names", "sections", "label_source")
    kept = {k: v for k, v in context.items() if k not in apart}
    kept |= {"decode": predictions.main}
    document = {"metrics": _plain(metrics), "context": _plain(kept)}
    if "label_source" in context:
        document = {"label_source": context["label_source"], **document}
    text = report_markdown(predictions, metrics, context=context)
    write_atomically(directory / "report.md", text)
    write_atomically(
        directory / "report.json", json.dumps(document, indent=1, allow_nan=False)
    )


def report_markdown(
    predictions: Predictions, metrics: Mapping[str, float], *, context: Mapping
) -> str:
    """The text of `report.md`."""
    sections = {
        f"Report: {context.get('run', DASH)}": _header(predictions, metrics, context),
        "Levels": level_table(predictions, metrics),
        **context.get("sections", {}),
        "Hierarchy": _hierarchy(metrics),
        "Decodes": _decodes(predictions, metrics),
        "Calibration": _calibration(predictions, metrics),
        "Retrieval": _retrieval(metrics),
        "Modalities": _modalities(predictions),
        "Frequency in training": frequency_table(metrics),
        **unseen_table(metrics),
        "Quarantine": _quarantine(context.get("quarantine") or {}),
        **error_sections(predictions, context.get("names") or {}),
        **_technical(context),
    }
    if not context.get("classified", True):
        kept = {*list(sections)[:1], *context.get("sections", {}), *UNCLASSIFIED}
        sections = {title: body for title, body in sections.items() if title in kept}
    marks = ["#"] + ["##"] * (len(sections) - 1)
    parts = [
        f"{mark} {title}\n\n{body}"
        for mark, (title, body) in zip(marks, sections.items(), strict=True)
    ]
    return "\n\n".join(parts) + "\n"


def _header(p: Predictions, metrics: Mapping, context: Mapping) -> str:
    rows = [[told, context[name]] for name, told in HEADER.items() if name in context]
    rows += [
        ["decode", p.main],
        ["rows with a label", metrics.get("count/rows", math.nan)],
        ["groups", metrics.get("count/groups", math.nan)],
        ["labels outside the tree", metrics.get("labels/outside_tree", math.nan)],
    ]
    if "set/accuracy" in metrics:
        rows += [
            ["rows with a set of admissible classes", metrics["count/set_rows"]],
            ["of them answered by one of the set", cell(metrics, "set/accuracy")],
        ]
    note = (
        "Shares are in %. Brackets hold 95 % intervals from resampled groups, those of"
        " macro averages and ECE moved back by what resampling itself does to them; a"
        " dash says that nothing was measured. Nodes are compared as nodes, STOP never"
        " counts."
    )
    parts = [table(["", ""], rows), note]
    if source := context.get("label_source"):
        told = f"Labels: {source.rstrip('.')}. Every figure is agreement with them."
        parts.insert(0, told)
    return "\n\n".join(parts)


def _technical(context: Mapping) -> dict[str, str]:
    """What only a repetition of the run asks for."""
    rows = []
    if "compiled_after_warmup" in context:
        told = context["compiled_after_warmup"]
        rows.append(["programs compiled after warm-up (0 is as it should be)", told])
    if "config_hash" in context:
        rows.append(["config hash", context["config_hash"][:HASH_DIGITS]])
    return {"Technical details": table(["", ""], rows)} if rows else {}


def _hierarchy(metrics: Mapping) -> str:
    shares = {
        "hierarchical/precision": "hierarchical precision",
        "hierarchical/recall": "hierarchical recall",
        "hierarchical/f1": "hierarchical F1",
        "path/accuracy": "whole path right",
    }
    steps = {
        "severity/tree_distance": "tree distance of a mistake (edges)",
        "severity/lca_height": "height of the common ancestor of a mistake (levels)",
    }
    rows = [[title, cell(metrics, name)] for name, title in shares.items()]
    rows += [[title, cell(metrics, name, scale=1.0)] for name, title in steps.items()]
    return table(["", "value"], rows)


def _decodes(p: Predictions, metrics: Mapping) -> str:
    columns = {
        "path_accuracy": "whole path right",
        "hierarchical_f1": "hierarchical F1",
    }
    head = [
        "decode",
        *columns.values(),
        "invalid paths",
        *["mean cost"] * bool(p.costs),
    ]
    rows = []
    for name in p.decoded:
        title = f"{name} (the answer)" if name == p.main else name
        cells = [cell(metrics, f"decode/{name}/{key}") for key in columns]
        cells.append(cell(metrics, f"invalid_paths/{name}"))
        if p.costs:
            cells.append(cell(metrics, f"decode/{name}/mean_cost", scale=1.0))
        rows.append([title, *cells])
    text = table(head, rows)
    raw = {"flat", "independent"}.intersection(p.decoded) - {p.main}
    if not raw:
        return text
    return (
        f"{text}\n\n`{p.main}` is the answer. The others read the same model otherwise;"
        f" {' and '.join(sorted(raw))} take its raw scores across siblings, which were"
        " never trained to be compared, and stand here as a warning."
    )


def _calibration(p: Predictions, metrics: Mapping) -> str:
    rows = [
        [f"level {k + 1}", cell(metrics, f"level{k + 1}/ece")]
        for k in range(p.num_levels)
    ]
    empty = "Not measured: no node was answered where the label has one."
    return table(["", "ECE, 15 bins of equal mass"], rows, empty=empty)


def _retrieval(metrics: Mapping) -> str:
    rows = []
    for name in ("text_to_image", "image_to_text"):
        cells = [cell(metrics, f"retrieval/{name}_r{k}") for k in (1, 5, 10)]
        rows.append([name.replace("_", " "), *cells])
    empty = "Not measured: it takes a model of text and pictures, and rows with both."
    text = table(["", "R@1", "R@5", "R@10"], rows, empty=empty)
    if text == empty:
        return text
    return (
        f"{text}\n\nShare of products whose own picture (title) is among the 1, 5, 10"
        " nearest to their title (picture). Products that look and read alike cannot be"
        " told apart; chance is 1, 5, 10 in as many products as the gallery has"
        " (`eval.gallery_size`, or all)."
    )


def _modalities(p: Predictions) -> str:
    """Rows and share of right paths for each combination of modalities."""
    p = labelled(p)
    right = right_paths(p)
    present = np.stack([*p.present.values(), np.ones(len(p), bool)], axis=1)
    rows = []
    for pattern in np.unique(present, axis=0)[::-1]:
        same = (present == pattern).all(axis=1)
        has = [name for name, there in zip(p.present, pattern, strict=False) if there]
        share = f"{100 * right[same].mean():.1f}"
        rows.append([" + ".join(has) or "none", int(same.sum()), share])
    return table(["present", "rows", "whole path right"], rows)


def _quarantine(counts: Mapping[tuple[str, str], int]) -> str:
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [[reason, action, n] for (reason, action), n in order]
    return table(["reason", "action", "rows"], rows, empty="No row has a flaw.")


def _plain(value):
    """What JSON can hold: nan becomes null, pairs as keys become `reason | action`."""
    if isinstance(value, Mapping):
        join = " | ".join
        return {
            join(map(str, k)) if isinstance(k, tuple) else str(k): _plain(v)
            for k, v in value.items()
        }
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (str, int, type(None))) else str(value)
