"""The columns that a user gets: a row for each product, ready to be acted on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from hsjax.data.record import Record
from hsjax.evaluation.arrow_lists import as_column, as_lists, counts_of
from hsjax.evaluation.predictions import Predictions, deepest
from hsjax.prediction.known import CONTENT
from hsjax.taxonomy import Taxonomy

NOTHING = "nothing to classify: neither text nor picture that the model reads"


def answer_table(
    predictions: Predictions, tree: Taxonomy, contents: Sequence[str]
) -> pa.Table:
    """Answers as columns, by the names of predictions.parquet where it has them.

    row, id; pred and name of the deepest node; pred_levelK, name_levelK, prob_levelK of
    each level, '' and 0 where the path has ended; log_prob of the whole path; the best
    paths with their probabilities; pred_confident where that is asked; has_MODALITY;
    stage; reason, why there is no answer; the content_key; embeddings, where asked.

    Args:
      contents: of each row.
    """
    p = refused(predictions)
    codes, names = p.decoded[p.main], [_names(tree, k) for k in range(tree.num_levels)]
    called = [[names[k][code] for code in codes[:, k]] for k in range(tree.num_levels)]
    called = np.array(called, object).T.reshape(codes.shape)
    columns = {"row": p.row, "id": p.id, "pred": deepest(codes)}
    columns["name"] = deepest(called)
    for k in range(tree.num_levels):
        columns[f"pred_level{k + 1}"] = codes[:, k]
        columns[f"name_level{k + 1}"] = called[:, k]
        columns[f"prob_level{k + 1}"] = p.prob[:, k].astype(np.float32)
    log_prob = p.log_prob.astype(np.float32)
    columns["log_prob"] = pa.array(log_prob, mask=np.isnan(log_prob))
    kept = counts_of(p.topk_codes)
    columns["topk_codes"] = as_lists(p.topk_codes, kept)
    columns["topk_probs"] = as_lists(p.topk_probs.astype(np.float32), kept)
    if p.confident is not None:
        columns["pred_confident"] = p.confident
    columns |= {f"has_{name}": values for name, values in p.present.items()}
    columns["stage"] = p.stage
    columns["reason"] = np.where(_seen(p), "", NOTHING).astype(object)
    columns[CONTENT] = np.array(contents, object)
    table = {name: as_column(values) for name, values in columns.items()}
    for name, vectors in p.embeddings.items():
        flat = pa.array(vectors.astype(np.float32).reshape(-1))
        width = vectors.shape[1]
        table[f"embedding_{name}"] = pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.table(table)


def renumbered(answers: pa.Table, records: Sequence[Record]) -> pa.Table:
    """Answers of products that are the same, with the rows and ids of these ones."""
    fields = {"row": [x.row for x in records], "id": [x.id for x in records]}
    for name, values in fields.items():
        place = answers.schema.get_field_index(name)
        column = pa.array(values, answers.schema.field(name).type)
        answers = answers.set_column(place, name, column)
    return answers


def refused(predictions: Predictions) -> Predictions:
    """No answer where the model sees nothing: a guess would be the classes' shares."""
    p, seen = predictions, _seen(predictions)
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


def _seen(predictions: Predictions) -> Bool[np.ndarray, "N"]:
    return np.any(list(predictions.present.values()), axis=0)


def _names(tree: Taxonomy, level: int) -> dict[str, str]:
    """code -> name for people."""
    pairs = zip(tree.codes[level].tolist(), tree.names[level].tolist(), strict=True)
    return {"": "", **dict(pairs)}
