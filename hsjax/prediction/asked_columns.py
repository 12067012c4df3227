"""Columns that only some questions have: how sure, which set, and what to do."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Shaped

from hsjax.data.named_nodes import node_places
from hsjax.evaluation.arrow_lists import as_lists, counts_of
from hsjax.evaluation.predictions import Predictions
from hsjax.filing import ACTIONS
from hsjax.taxonomy import Taxonomy
from hsjax.tree.node_codes import deepest, node_codes


def asked_columns(
    p: Predictions, tree: Taxonomy, answered: Bool[np.ndarray, "N"]
) -> dict:
    """By what was asked for; blank where there is no answer.

    pred_confident, the deepest node that is sure enough, and decided_level, its level,
    0 = none is. set_codes, the leaves of the set, the most probable ones where they are
    many, set_count of all, and set_node, the deepest node that has all of them below
    it. action, the expected_cost of it, and file_code, the cheapest code to file.
    """
    columns = {}
    if p.confident is not None:
        places = node_places(tree)
        levels = [places[code][0] + 1 if code else 0 for code in p.confident.tolist()]
        columns["pred_confident"] = p.confident
        columns["decided_level"] = np.array(levels, np.int32)
    if "set_paths" in p.asked:
        codes = deepest(node_codes(tree, p.asked["set_paths"]))
        codes = np.where(answered[:, None], codes, "")
        columns["set_codes"] = as_lists(codes, counts_of(codes))
        counts = np.where(answered, p.asked["set_count"], 0)
        columns["set_count"] = counts.astype(np.int32)
        above = deepest(node_codes(tree, p.asked["set_node"]))
        columns["set_node"] = np.where(answered, above, "")
    if "action" in p.asked:
        actions = np.array(ACTIONS, object)[p.asked["action"]]
        columns["action"] = np.where(answered, actions, "")
        costs = p.asked["expected_cost"].astype(np.float32)
        columns["expected_cost"] = pa.array(costs, mask=~answered)
        filed = deepest(node_codes(tree, p.asked["file_path"]))
        columns["file_code"] = np.where(answered, filed, "")
    return columns


def ours(p: Predictions, columns: Mapping) -> Shaped[np.ndarray, "N"]:
    """The code that we would file, '' where we are not sure enough."""
    if "action" in columns:
        return np.where(columns["action"] == "file", columns["file_code"], "")
    return deepest(p.decoded[p.main]) if p.confident is None else p.confident
