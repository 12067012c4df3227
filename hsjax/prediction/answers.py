"""The columns that a user gets: a row for each product, ready to be acted on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from hsjax.data.fields import NOTHING
from hsjax.data.named_nodes import Own
from hsjax.data.record import Record
from hsjax.evaluation.arrow_lists import as_column, as_lists, counts_of
from hsjax.evaluation.cascade_curve import STAGES
from hsjax.evaluation.metrics import readable
from hsjax.evaluation.predictions import Predictions, deepest
from hsjax.prediction.asked_columns import asked_columns, ours
from hsjax.prediction.known import CONTENT
from hsjax.prediction.policies import filed_codes
from hsjax.taxonomy import Taxonomy

UNSURE = "left to people: no stage of the cascade is sure enough"


class Beside(NamedTuple):
    """What is known of N products, beside the model's answers.

    Attributes:
      reasons: why there is no answer, '' = there is.
      current: the codes that they have, '' = none; None = not asked.
      policy: of `filed_codes`; own: own code of a node -> its path.
    """

    reasons: Sequence[str]
    current: Sequence[str] | None
    policy: str
    own: Own


def answer_table(
    predictions: Predictions, tree: Taxonomy, contents: Sequence[str], beside: Beside
) -> pa.Table:
    """Answers as columns, by the names of predictions.parquet where it has them.

    row, id; pred and name of the deepest node; pred_levelK, name_levelK, prob_levelK of
    each level, blank where the path has ended; log_prob of the whole path; the best
    paths with their probabilities; what else was asked for, see `asked_columns`;
    has_MODALITY, blank where the model was not asked; stage; reason, why there is no
    answer; the content_key; embeddings, where asked.

    Args:
      contents: of each row.
    """
    given = zip(beside.reasons, _refusals(predictions), strict=True)
    reasons = [known or why for known, why in given]
    answered = np.array([not why for why in reasons], bool)
    p = refused(predictions, answered)
    codes, names = p.decoded[p.main], [_names(tree, k) for k in range(tree.num_levels)]
    called = [[names[k][code] for code in codes[:, k]] for k in range(tree.num_levels)]
    called = np.array(called, object).T.reshape(codes.shape)
    columns = {"row": p.row, "id": p.id, "pred": deepest(codes)}
    columns["name"] = deepest(called)
    for k in range(tree.num_levels):
        columns[f"pred_level{k + 1}"] = codes[:, k]
        columns[f"name_level{k + 1}"] = called[:, k]
        prob = p.prob[:, k].astype(np.float32)
        columns[f"prob_level{k + 1}"] = pa.array(prob, mask=codes[:, k] == "")
    log_prob = p.log_prob.astype(np.float32)
    columns["log_prob"] = pa.array(log_prob, mask=np.isnan(log_prob))
    kept = counts_of(p.topk_codes)
    columns["topk_codes"] = as_lists(p.topk_codes, kept)
    columns["topk_probs"] = as_lists(p.topk_probs.astype(np.float32), kept)
    columns |= asked_columns(p, tree, answered)
    if beside.current is not None:
        columns["current"] = np.array(beside.current, object)
    if beside.policy or "action" in columns:
        known = beside.current or [""] * len(p)
        filed = filed_codes(beside.policy, known, ours(p, columns), tree, beside.own)
        columns["code"] = filed
    columns |= _seen(p, beside.reasons)
    columns["stage"] = p.stage
    columns["reason"] = np.array(reasons, object)
    columns[CONTENT] = np.array(contents, object)
    table = {name: as_column(values) for name, values in columns.items()}
    for name, vectors in p.embeddings.items():
        flat = pa.array(vectors.astype(np.float32).reshape(-1))
        width = vectors.shape[1]
        table[f"embedding_{name}"] = pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.table(table)


def _seen(p: Predictions, reasons: Sequence[str]) -> dict[str, pa.Array]:
    """Which modalities there are, blank where nobody has looked."""
    unasked = np.array([bool(known) for known in reasons], bool)
    return {f"has_{k}": pa.array(x, mask=unasked) for k, x in p.present.items()}


def renumbered(answers: pa.Table, records: Sequence[Record]) -> pa.Table:
    """Answers of products that are the same, with the rows and ids of these ones."""
    fields = {"row": [x.row for x in records], "id": [x.id for x in records]}
    for name, values in fields.items():
        place = answers.schema.get_field_index(name)
        column = pa.array(values, answers.schema.field(name).type)
        answers = answers.set_column(place, name, column)
    return answers


def refused(predictions: Predictions, answered: Bool[np.ndarray, "N"]) -> Predictions:
    """No answer where there is a reason: a guess would be the classes' shares."""
    p, seen = predictions, answered
    if seen.all():
        return p
    main = np.where(seen[:, None], p.decoded[p.main], "")
    return replace(
        p,
        decoded={**p.decoded, p.main: main},
        prob=np.where(seen[:, None], p.prob, 0.0),
        log_prob=np.where(seen, p.log_prob, np.nan),
        topk_codes=np.where(seen[:, None], p.topk_codes, ""),
        topk_probs=np.where(seen[:, None], p.topk_probs, 0.0),
        confident=None if p.confident is None else np.where(seen, p.confident, ""),
    )


def _refusals(p: Predictions) -> list[str]:
    """Why no model has answered, '' = one has."""
    unsure = np.where(p.stage == STAGES[-1], UNSURE, "")
    return np.where(readable(p), unsure, NOTHING).tolist()


def _names(tree: Taxonomy, level: int) -> dict[str, str]:
    """code -> name for people."""
    pairs = zip(tree.codes[level].tolist(), tree.names[level].tolist(), strict=True)
    return {"": "", **dict(pairs)}
