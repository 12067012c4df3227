"""What a discovery is worth beside the hidden classes, as figures of a report.

A figure has up to three forms. Without a prefix it is of all products with a hidden
class. `free/` is of those whose class no method is told: the same products for every
method of one seed, so that rows of a table can be compared. `kept/` is of those in a
cluster. `nodes/` is of the labels as they are looked at, before anything is divided.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from hsjax.evaluation.clusters import LEFT_OUT, cluster_scores, discovery_accuracy
from hsjax.features.cluster_methods import KNOWING
from hsjax.recategorize.files import Found
from hsjax.recategorize.proposals import level_keys


def discovery_scores(found: Sequence[Found]) -> dict[str, float | int]:
    """Of the first new level of all nodes together; {} where no class is hidden.

    A node that was not divided is one cluster, and so is what has no vector. Chance is
    that of random clusters of the same sizes within each node.
    """
    truth = np.concatenate([f.truth for f in found])
    if not any(truth.tolist()):
        return {}
    told = np.concatenate([f.told for f in found])
    nodes = np.repeat(np.arange(len(found)), [len(f.truth) for f in found])
    spread, kept = _clusters(found)
    free = told == ""
    known = set(truth[~free].tolist())
    parts = {
        "": cluster_scores(truth, spread, within=nodes),
        "free/": cluster_scores(truth[free], spread[free], within=nodes[free])
        | discovery_accuracy(truth[free], spread[free], known),
        "kept/": cluster_scores(truth, kept, within=nodes),
        "nodes/": cluster_scores(truth, nodes, within=nodes),
    }
    return {f"{form}{k}": v for form, of in parts.items() for k, v in of.items()}


def _clusters(found: Sequence[Found]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the clusters of all products, and of those that are in one."""
    spread, kept, number = [], [], 0
    for f in found:
        own = np.unique(level_keys(f.cascade.spread, 0), return_inverse=True)[1]
        spread.append(own + number)
        kept.append(np.where(f.cascade.keys != "", own + number, LEFT_OUT))
        number += own.max() + 1
    return np.concatenate(spread), np.concatenate(kept)


def class_counts(found: Sequence[Found]) -> dict[str, int]:
    """Hidden class -> its products, the commonest first."""
    counts = Counter(c for f in found for c in f.truth.tolist() if c)
    return dict(counts.most_common())


def classes_told(config, counts: Mapping[str, int]) -> str:
    """What the classes are, and how many of them are too rare to be found."""
    separator = config.data.columns.separator
    names = {code.split(separator)[-1] for code in counts}
    rare = sum(n < config.recategorize.min_size for n in counts.values())
    text = f"{len(counts)} classes of level {config.recategorize.truth}"
    if len(names) < len(counts):
        text += f" with {len(names)} names, as a name below another node is another"
    text += f"; {rare} have fewer products than a cluster needs." if rare else "."
    if config.recategorize.method in KNOWING:
        text += (
            " The method was told the class of some products: compare it with others in"
            " the third column."
        )
    return text
