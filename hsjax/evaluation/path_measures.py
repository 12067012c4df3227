"""What answers are worth as paths: of every decode, and how far mistakes lie off."""

import numpy as np

from hsjax.evaluation.measures import (
    Ratios,
    answers,
    hierarchical_f1,
    right_paths,
)
from hsjax.evaluation.predictions import Predictions
from hsjax.tree.costs import common_depth, path_distance


def decode_ratios(predictions: Predictions) -> Ratios:
    """Hierarchical measures of the main decode, and every decode beside each other.

    `path_accuracy` is the share of all rows whose whole path is right, those that end
    above the last level included; `levelK/accuracy` is of the rows with a label there.
    `mean_cost` is that of right and wrong answers alike, where costs are known.

    hP = sum |answer & truth| / sum |answer|, hR = sum |answer & truth| / sum |truth|;
    see `hierarchical_f1`.
    """
    truth, ratios = predictions.truth, {}
    every, size = np.ones(len(truth)), (truth != "").sum(axis=1)
    for name in predictions.decoded:
        answer = answers(predictions, name)
        shared = ((answer == truth) & (truth != "")).sum(axis=1)
        given = (answer != "").sum(axis=1)
        f1 = hierarchical_f1(shared, given, size)
        ratios[f"decode/{name}/path_accuracy"] = (right_paths(predictions, name), every)
        ratios[f"decode/{name}/hierarchical_f1"] = f1
        ratios[f"invalid_paths/{name}"] = (~predictions.valid[name], every)
        if name in predictions.costs:
            ratios[f"decode/{name}/mean_cost"] = (predictions.costs[name], every)
        if name == predictions.main:
            ratios["hierarchical/precision"] = (shared, given)
            ratios["hierarchical/recall"] = (shared, size)
            ratios["hierarchical/f1"] = f1
    return ratios


def mistake_ratios(predictions: Predictions) -> Ratios:
    """Whole paths, and how bad the mistakes are.

    Tree distance: edges between the two last nodes. Height of the lowest common
    ancestor: levels from it down to the deeper of the two (Bertinetto et al. 2020,
    https://arxiv.org/abs/1912.09393; the same where all leaves are equally deep).
    """
    truth, answer = predictions.truth, answers(predictions)
    wrong, every = ~right_paths(predictions), np.ones(len(truth))
    depth, reached = (truth != "").sum(axis=1), (answer != "").sum(axis=1)
    distance = path_distance(truth, answer)
    height = np.maximum(depth, reached) - common_depth(truth, answer)
    charged = predictions.costs.get(predictions.main)
    priced = {} if charged is None else {"path/mean_cost": (charged, every)}
    return priced | {
        "path/accuracy": (~wrong, every),
        "path/invalid": (~predictions.valid[predictions.main], every),
        "severity/tree_distance": (distance * wrong, wrong),
        "severity/lca_height": (height * wrong, wrong),
    }
