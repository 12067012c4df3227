"""What a model answered for every row of a file, and the Parquet file that holds it.

Every model writes the same table, the SVM baseline and a cascade too, so that one
scorer, one report and one paired comparison serve them all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Integer, Shaped

from hsjax.atomic import finished
from hsjax.data.records import CatalogueError
from hsjax.evaluation.arrow_lists import as_column, as_lists, counts_of, padded_lists
from hsjax.tree.node_codes import deepest

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Answers and truth of N rows in a tree of L levels, as node codes.

    Codes are strings ('<U' or object arrays); '' says that there is no real node. STOP
    is never written: a path that ends at an inner node has '' below it.

    Attributes:
      row, id, group: 1-based data row, name and group number of each product.
      truth: node codes of the label. '' = the label has no real node at this level.
      complete: the product ends where its label ends. False: unknown, unscored below.
      outside: the label leaves the model's tree; its codes stay in `truth`, so they are
        wrong.
      decoded: decode (path, greedy, independent, flat, distance, cost) -> node codes of
        its answer.
      valid: decode -> is the answer one path of the tree?
      prob: probability of the node that the main decode answered, 0 where none.
      log_prob: of the whole path that the main decode answered.
      topk_codes, topk_probs: deepest node and probability of the K best paths.
      level_topk: the J most probable real nodes of each level, '' = fewer.
      present: modality -> which rows have it.
      embeddings: name -> unit vectors (E,), zeros where absent; not written to disk.
      stage: which model of a cascade answered, '' without one.
      main: the decode that is the answer.
      separator: between the parts of a code, the last of which is its name; '' for HS.
      costs: decode -> what its answer costs, nan without a label; {} = not asked.
      confident: code of the deepest node as probable as was asked for, '' = none is;
        None = not asked.
      admissible: codes of the nodes of which one is right, '' = fewer; no code where
        the label says it all. None, or S = 0: no row has such a set.
      asked: what else was asked for, see `make_answer`; not written to disk.
    """

    row: Integer[np.ndarray, "N"]
    id: Shaped[np.ndarray, "N"]
    group: Integer[np.ndarray, "N"]
    truth: Shaped[np.ndarray, "N L"]
    complete: Bool[np.ndarray, "N"]
    outside: Bool[np.ndarray, "N"]
    decoded: Mapping[str, Shaped[np.ndarray, "N L"]]
    valid: Mapping[str, Bool[np.ndarray, "N"]]
    prob: Float[np.ndarray, "N L"]
    log_prob: Float[np.ndarray, "N"]
    topk_codes: Shaped[np.ndarray, "N K"]
    topk_probs: Float[np.ndarray, "N K"]
    level_topk: Shaped[np.ndarray, "N L J"]
    present: Mapping[str, Bool[np.ndarray, "N"]]
    embeddings: Mapping[str, Float[np.ndarray, "N E"]]
    stage: Shaped[np.ndarray, "N"]
    main: str
    separator: str
    costs: Mapping[str, Float[np.ndarray, "N"]] = field(default_factory=dict)
    confident: Shaped[np.ndarray, "N"] | None = None
    admissible: Shaped[np.ndarray, "N S"] | None = None
    asked: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        if self.main not in self.decoded:
            raise ValueError(f"main decode {self.main!r} is not in {[*self.decoded]}")
        if self.costs and self.costs.keys() != self.decoded.keys():
            raise ValueError("`decoded` and `costs` name different decodes")
        if self.decoded.keys() != self.valid.keys():
            raise ValueError("`decoded` and `valid` name different decodes")
        for name, array in self._arrays():
            if len(array) != len(self.row):
                raise ValueError(f"{name} has {len(array)} rows, not {len(self)}")
            if name.startswith("decoded/") and array.shape != self.truth.shape:
                raise ValueError(f"{name}: {array.shape}, truth: {self.truth.shape}")

    def __len__(self) -> int:
        return len(self.row)

    @property
    def num_levels(self) -> int:
        return self.truth.shape[1]

    def _arrays(self):
        for name in (x.name for x in fields(self)):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                yield from ((f"{name}/{k}", v) for k, v in value.items())
            elif isinstance(value, np.ndarray):
                yield name, value

    def select(self, rows: np.ndarray | Sequence[int]) -> "Predictions":
        """The given rows: a mask, or indices in the wanted order (repeats allowed)."""

        def pick(value):
            if isinstance(value, Mapping):
                return {name: array[rows] for name, array in value.items()}
            return value[rows] if isinstance(value, np.ndarray) else value

        picked = {f.name: pick(getattr(self, f.name)) for f in fields(self)}
        return replace(self, **picked)


def node_names(codes: np.ndarray, separator: str) -> np.ndarray:
    """Bare names of nodes: the last part of each code; HS codes are their own names.

    >>> node_names(np.array(["Men > Shoes", ""]), " > ").tolist()
    ['Shoes', '']
    """
    if not separator:
        return codes
    unique, inverse = np.unique(codes, return_inverse=True)
    last = np.array([code.rsplit(separator, 1)[-1] for code in unique.tolist()], object)
    return last[inverse.reshape(codes.shape)]


def write_predictions(predictions: Predictions, path: Path | str) -> None:
    """Writes the table atomically; its metadata holds what `read_predictions` needs."""
    p, levels = predictions, range(predictions.num_levels)
    columns = {"row": p.row, "id": p.id, "group": p.group}
    columns |= {"label": deepest(p.truth), "pred": deepest(p.decoded[p.main])}
    columns |= {f"label_level{k + 1}": p.truth[:, k] for k in levels}
    columns |= {f"pred_level{k + 1}": p.decoded[p.main][:, k] for k in levels}
    columns |= {f"prob_level{k + 1}": p.prob[:, k].astype(np.float32) for k in levels}
    kept = counts_of(p.topk_codes)
    columns["log_prob"] = p.log_prob.astype(np.float32)
    columns["topk_codes"] = as_lists(p.topk_codes, kept)
    columns["topk_probs"] = as_lists(p.topk_probs.astype(np.float32), kept)
    columns |= {f"has_{name}": values for name, values in p.present.items()}
    columns |= {"stage": p.stage, "complete": p.complete, "outside": p.outside}
    if p.confident is not None:
        columns["pred_confident"] = p.confident
    sets = p.admissible is not None and p.admissible.shape[1]
    if sets:
        columns["admissible"] = as_lists(p.admissible, counts_of(p.admissible))
    for name in p.decoded:
        columns[f"valid_{name}"] = p.valid[name]
        if name != p.main:
            codes = p.decoded[name]
            columns |= {f"pred_{name}_level{k + 1}": codes[:, k] for k in levels}
        if p.costs:
            columns[f"cost_{name}"] = p.costs[name]
    for k in levels:
        nodes = p.level_topk[:, k]
        columns[f"topk_level{k + 1}"] = as_lists(nodes, counts_of(nodes))
    header = {
        "format": FORMAT,
        "main": p.main,
        "separator": p.separator,
        "levels": p.num_levels,
        "decodes": list(p.decoded),
        "modalities": list(p.present),
        "topk": p.topk_codes.shape[1],
        "level_topk": p.level_topk.shape[2],
        **({"admissible": sets} if sets else {}),
    }
    table = pa.table({name: as_column(values) for name, values in columns.items()})
    table = table.replace_schema_metadata({"hsjax": json.dumps(header)})
    with finished(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_predictions(path: Path | str) -> Predictions:
    """Reads what `write_predictions` wrote; embeddings come back empty.

    Raises:
      CatalogueError: the file is not Parquet, not ours, or of a newer format.
    """
    table, header = _opened(path)
    main, levels = header["main"], range(1, header["levels"] + 1)

    def flat(name):
        return table[name].to_numpy()

    def by_level(name):
        return np.stack([flat(name.format(k)) for k in levels], axis=1)

    def answer(name):
        return by_level("pred_level{}" if name == main else f"pred_{name}_level{{}}")

    decodes, width = header["decodes"], header["level_topk"]
    asked = "pred_confident" in table.column_names
    costed = [name for name in decodes if f"cost_{name}" in table.column_names]
    sets = header.get("admissible", 0)
    tops = [padded_lists(table[f"topk_level{k}"], width, "") for k in levels]
    return Predictions(
        **{name: flat(name) for name in ("row", "id", "group", "complete", "outside")},
        truth=by_level("label_level{}"),
        decoded={name: answer(name) for name in decodes},
        valid={name: flat(f"valid_{name}") for name in decodes},
        costs={name: flat(f"cost_{name}") for name in costed},
        prob=by_level("prob_level{}"),
        log_prob=flat("log_prob"),
        topk_codes=padded_lists(table["topk_codes"], header["topk"], ""),
        topk_probs=padded_lists(table["topk_probs"], header["topk"], 0.0),
        level_topk=np.stack(tops, axis=1),
        present={name: flat(f"has_{name}") for name in header["modalities"]},
        embeddings={},
        stage=flat("stage"),
        main=main,
        separator=header["separator"],
        confident=flat("pred_confident") if asked else None,
        admissible=padded_lists(table["admissible"], sets, "") if sets else None,
    )


def _opened(path: Path | str) -> tuple[pa.Table, dict]:
    """The table of a file of ours, and its header; errors: see `read_predictions`."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, FileNotFoundError) as error:
        raise CatalogueError(f"{path}: no predictions to read: {error}") from None
    header = json.loads((table.schema.metadata or {}).get(b"hsjax", b"{}"))
    if header.get("format") != FORMAT:
        raise CatalogueError(
            f"{path} is not a predictions file of format {FORMAT}"
            f" (found {header.get('format', 'none')}): write it again by"
            " python -m hsjax.evaluate --run=WORKDIR"
        )
    return table, header
