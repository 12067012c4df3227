"""Zero-shot classification: the class whose text lies nearest to a product.

Radford et al., 2021 (CLIP), section 3.1.2: embed the name of each class by the text
tower, answer with the class of the largest cosine. Nothing is trained on labels, so
it tells how well texts and images are aligned.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped

from hsjax.evaluation import intervals
from hsjax.evaluation.markdown import cell, table
from hsjax.evaluation.measures import ratio_statistic
from hsjax.evaluation.predictions import Predictions, deepest
from hsjax.evaluation.retrieval import rank_chances
from hsjax.taxonomy import Taxonomy

RANKS = {1: "accuracy", 5: "top5_accuracy"}
KINDS = ("name", "path")  # what the text of a class is


def zero_shot_classes(
    tree: Taxonomy, *, kind: str
) -> tuple[Shaped[np.ndarray, "C"], list[str]]:
    """Codes of the nodes where products end, and the text of each.

    They are the leaves, and the inner nodes that have a STOP child.

    Args:
      kind: `name`: the text is the node's own name. `path`: all names down to it,
        joined by the tree's separator, or by ' > ' in an HS tree, which has none.

    Raises:
      ValueError: the kind is neither.
    """
    if kind not in KINDS:
        raise ValueError(f"zero_shot is {kind!r}; known: {', '.join(KINDS)}")
    nodes = []
    for level in range(tree.num_levels):
        ends = tree.leaf[level] & ~tree.stop[level]
        nodes += [(level, i) for i in np.flatnonzero(ends).tolist()]
        if level:
            stops = np.unique(tree.parents[level][tree.stop[level]])
            nodes += [(level - 1, i) for i in stops.tolist()]
    codes = [str(tree.codes[level][i]) for level, i in nodes]
    return np.array(codes, object), [node_text(tree, *node, kind) for node in nodes]


def node_text(tree: Taxonomy, level: int, i: int, kind: str) -> str:
    """What node (level, id) is called; see `zero_shot_classes` for the kinds."""
    path = tree.ancestors[level][i][: level + 1].tolist()
    names = [str(tree.names[k][node]) for k, node in enumerate(path)]
    return (tree.separator or " > ").join(names) if kind == "path" else names[-1]


def zero_shot_hits(
    products: Float[np.ndarray, "N E"],
    texts: Float[np.ndarray, "C E"],
    truth: Integer[np.ndarray, "N"],
) -> Float[np.ndarray, "N K"]:
    """Chance that the true class is among the first k answers, k in `RANKS`.

    Classes as near as the true one (two of one name are) are ordered at random: see
    `rank_chances`.

    Args:
      products, texts: unit length.
      truth: index of the class, -1 = none of them, which is wrong.
    """
    hits = rank_chances(products, texts, np.maximum(truth, 0), ranks=tuple(RANKS))
    return np.where(truth[:, None] >= 0, hits, 0.0)


def zero_shot(
    predictions: Predictions,
    embeddings: Mapping[str, Float[np.ndarray, "N E"]],
    texts: Float[np.ndarray, "C E"],
    classes: Shaped[np.ndarray, "C"],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """`zero_shot/MODALITY_accuracy` and `_top5_accuracy` of leaves, with intervals.

    Only rows that have the modality (their vector is not zero) and whose label says
    where the product ends count: `zero_shot/MODALITY_rows` of them. A label outside
    the tree is wrong. Intervals resample groups, as those of all measures.

    Args:
      embeddings: modality -> unit vectors of the rows, zeros where it is absent.
      texts: unit vectors of the classes' texts.
      classes: their codes.
    """
    ends = deepest(predictions.truth)
    known = (predictions.truth[:, 0] != "") & predictions.complete
    index = {code: i for i, code in enumerate(classes.tolist())}
    truth = np.array([index.get(code, -1) for code in ends.tolist()], np.int64)
    ratios, result = {}, {"zero_shot/classes": float(len(classes))}
    for name, vectors in embeddings.items():
        rows = known & _present(vectors)
        hits = np.zeros((len(predictions), len(RANKS)))
        if len(classes):
            hits[rows] = zero_shot_hits(vectors[rows], texts, truth[rows])
        result[f"zero_shot/{name}_rows"] = float(rows.sum())
        for column, rank in enumerate(RANKS.values()):
            ratios[f"zero_shot/{name}_{rank}"] = hits[:, column], rows
    if not len(predictions):
        return result
    found = intervals.bootstrap(
        ratio_statistic(ratios), predictions.group, count=bootstrap, seed=seed
    )
    for name, interval in found.items():
        result[name] = interval.value
        if bootstrap:
            result[f"{name}_low"], result[f"{name}_high"] = interval[1:]
    return result


def _present(vectors: Float[np.ndarray, "N E"]) -> Bool[np.ndarray, "N"]:
    return np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)


def zero_shot_table(metrics: Mapping[str, float], names: Sequence[str]) -> str:
    """For report.md: a row per modality, with the number of rows and chance."""
    classes = metrics["zero_shot/classes"]
    rows = []
    for name in names:
        cells = [cell(metrics, f"zero_shot/{name}_{rank}") for rank in RANKS.values()]
        rows.append([name, metrics[f"zero_shot/{name}_rows"], *cells])
    chance = [f"{100 * min(1, k / max(classes, 1)):.1f}" for k in RANKS]
    rows.append([f"chance, {classes:,.0f} classes", "", *chance])
    return table(["nearest label text to the", "rows", "accuracy", "top-5"], rows)
