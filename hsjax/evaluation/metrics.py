"""Every number of a report, from `Predictions`, with intervals.

Rules. Only rows with a label are scored. At level k a row whose truth has no real node
there is skipped; a prediction that stopped earlier is wrong there, and so is everything
where the truth has left the tree. Where the truth is unknown below its last node, what
was predicted below it is not looked at. STOP is no node. Nodes are compared as nodes:
two nodes of the same name are different.

Every metric is a function of row weights (see `intervals`), so that a bootstrap
resample means exactly the same file with some rows repeated and others left out.
"""

import re
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from jaxtyping import Bool, Shaped

from hsjax.evaluation import intervals
from hsjax.evaluation.intervals import Statistic
from hsjax.evaluation.measures import (
    level_ratios,
    level_statistics,
    ratio_statistic,
)
from hsjax.evaluation.path_measures import decode_ratios, mistake_ratios
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.rarity import (
    rarity_averages,
    rarity_ratios,
    unseen_counts,
    unseen_ratios,
)
from hsjax.evaluation.retrieval import retrieval_hits


def score(
    predictions: Predictions,
    *,
    bootstrap: int = 1000,
    gallery_size: int = 1000,
    seed: int = 0,
    train_counts: Mapping[str, int] | None = None,
) -> dict[str, float]:
    """All metrics by name, each with `NAME_low` and `NAME_high`; nan = not measured.

    Levels count from 1; HS trees have `digits6/...` beside `level3/...`. Rows whose
    label is a set have `set/accuracy`, too. Counts (`count/...`, `labels/outside_tree`,
    `unseen/rows`) have no interval.

    Args:
      bootstrap: resamples of groups; 0 = no intervals, which is what a training loop
        wants.
      gallery_size: groups in the gallery of retrieval.
      seed: of resamples and gallery.
      train_counts: node code -> training rows, for accuracy on rare and frequent
        leaves, and on those without any.
    """
    scored = labelled(predictions)
    result = counts(scored) | set_scores(predictions, bootstrap=bootstrap, seed=seed)
    if not len(scored):
        return result
    result |= unseen_counts(scored, train_counts or {})
    measure = statistic(
        scored, gallery_size=gallery_size, seed=seed, train_counts=train_counts
    )
    found = intervals.bootstrap(measure, scored.group, count=bootstrap, seed=seed)
    for name, interval in found.items():
        result[name] = interval.value
        if bootstrap:
            result[f"{name}_low"], result[f"{name}_high"] = interval[1:]
    add_digit_names(result, scored.truth, scored.separator)
    return result


def statistic(
    predictions: Predictions,
    *,
    names: Collection[str] | None = None,
    gallery_size: int = 1000,
    seed: int = 0,
    train_counts: Mapping[str, int] | None = None,
) -> Statistic:
    """The metrics of labelled predictions as a function of row weights.

    Args:
      names: compute these only (whole families may come along), for speed.
      train_counts: node code -> training rows; None = no `leaf/...`, `unseen/...`
        or `seen/...`.
    """
    ratios = decode_ratios(predictions) | mistake_ratios(predictions)
    for level in range(predictions.num_levels):
        ratios |= level_ratios(predictions, level)
    ratios |= rarity_ratios(predictions, train_counts or {})
    ratios |= unseen_ratios(predictions, train_counts or {})
    hits, queries = retrieval_hits(predictions, size=gallery_size, seed=seed)
    ratios |= {name: (values, queries) for name, values in hits.items()}
    if names is not None:
        ratios = {name: pair for name, pair in ratios.items() if name in names}
    families = [ratio_statistic(ratios)]
    for level in range(predictions.num_levels):
        prefix = f"level{level + 1}/"
        if names is None or any(name.startswith(prefix) for name in names):
            families += level_statistics(predictions, level)
    if train_counts and (names is None or any(n[:5] == "leaf/" for n in names)):
        families.append(rarity_averages(predictions, train_counts))

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {k: v for family in families for k, v in family(weights).items()}

    return measure


def set_scores(
    predictions: Predictions, *, bootstrap: int = 1000, seed: int = 0
) -> dict[str, float]:
    """`set/accuracy`: is the answer one of the admissible nodes, or below one?

    Over the rows whose label is a set of nodes, {} where there is none. What their
    nodes share is a label as of any other row.
    """
    p = predictions
    if p.admissible is None or not p.admissible.shape[1]:
        return {}
    p = p.select(np.flatnonzero(p.admissible[:, 0] != ""))
    if not len(p):
        return {}
    answer = p.decoded[p.main][:, :, None]
    hit = ((answer == p.admissible[:, None]) & (answer != "")).any(axis=(1, 2))
    measure = ratio_statistic({"set/accuracy": (hit, np.ones(len(p)))})
    found = intervals.bootstrap(measure, p.group, count=bootstrap, seed=seed)
    value, low, high = found["set/accuracy"]
    result = {"count/set_rows": float(len(p)), "set/accuracy": value}
    if bootstrap:
        result |= {"set/accuracy_low": low, "set/accuracy_high": high}
    return result


def answered(predictions: Predictions) -> bool:
    """Is there any answer? A model that was trained without classification has none."""
    return bool((predictions.decoded[predictions.main] != "").any())


def labelled(predictions: Predictions) -> Predictions:
    """The rows that have a label."""
    return predictions.select(np.flatnonzero(predictions.truth[:, 0] != ""))


def readable(predictions: Predictions) -> Bool[np.ndarray, "N"]:
    """Rows of which the model reads something; of others there is no answer."""
    return np.any(list(predictions.present.values()), axis=0)


def counts(predictions: Predictions) -> dict[str, float]:
    """Rows, groups, labels outside the tree; rows and classes of each level."""
    result = {
        "count/rows": len(predictions),
        "count/groups": len(np.unique(predictions.group)),
        "labels/outside_tree": predictions.outside.sum(),
    }
    for level in range(predictions.num_levels):
        codes = predictions.truth[:, level]
        codes = codes[codes != ""]
        result[f"count/level{level + 1}_rows"] = len(codes)
        result[f"count/level{level + 1}_classes"] = len(np.unique(codes))
    return {name: float(value) for name, value in result.items()}


def add_digit_names(
    metrics: dict[str, float], truth: Shaped[np.ndarray, "N L"], separator: str
) -> None:
    """Writes `digits6/accuracy` beside `level3/accuracy` and so on."""
    for alias, level in digit_aliases(truth, separator).items():
        for name in [n for n in metrics if n.startswith(f"{level}/")]:
            metrics[alias + name.removeprefix(level)] = metrics[name]


def digit_aliases(truth: Shaped[np.ndarray, "N L"], separator: str) -> dict[str, str]:
    """`digits6` -> `level3` and so on, where codes are HS digits.

    Nodes that were added with codes of their own, such as 6404.n1, have no say.
    """
    aliases = {}
    for level, codes in enumerate([] if separator else truth.T.tolist()):
        lengths = {len(code) for code in set(codes) if code.isdigit()}
        if len(lengths) == 1:
            aliases[f"digits{lengths.pop()}"] = f"level{level + 1}"
    return aliases


def measured_levels(metrics: Iterable[str]) -> list[int]:
    """Levels, from 1, that these metrics are of.

    >>> measured_levels(["level2/accuracy", "level10/macro_f1", "hierarchical/f1"])
    [2, 10]
    """
    found = (re.match(r"level(\d+)/", name) for name in metrics)
    return sorted({int(match[1]) for match in found if match})
