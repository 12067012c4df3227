"""What an artefact answers, as arrays with a row for each product."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hsjax.artefact.inputs import Note
from hsjax.data.fields import NOTHING
from hsjax.taxonomy import Taxonomy
from hsjax.tree.node_codes import deepest, level_codes, node_codes


class Answers(NamedTuple):
    """Of N rows in a tree of L levels; the fields are called as a run calls them.

    Attributes:
      codes: (N, L) of the answered path, '' where it has ended; prob: (N, L) of its
        nodes, 0 there.
      log_prob: (N,) of the whole path.
      topk_codes, topk_probs: (N, K) deepest node and probability of the best paths.
      level_topk: (N, L, K) the most probable nodes of each level, '' = fewer.
      confident: (N,) the deepest node as probable as was asked for, '' = none is, or
        nothing is there to go by; None
        = not asked.
      present: modality -> (N,) which rows have it; where all are absent an answer is
        the classes' shares and no more, and a note says so.
      embeddings: (N, E) unit vectors of text and image, zeros where absent.
      notes: fields that could not be read, then rows that say nothing; as in the arrays
        rows count from 0.
    """

    codes: np.ndarray
    prob: np.ndarray
    log_prob: np.ndarray
    topk_codes: np.ndarray
    topk_probs: np.ndarray
    level_topk: np.ndarray
    confident: np.ndarray | None
    present: Mapping[str, np.ndarray]
    embeddings: Mapping[str, np.ndarray]
    notes: Sequence[Note]

    def __len__(self) -> int:
        return len(self.codes)


def make_answers(
    found: Mapping[str, np.ndarray],
    tree: Taxonomy,
    *,
    main: str,
    asked: bool,
    notes: Sequence[Note],
) -> Answers:
    """Outputs of a program, joined over batches, as codes.

    Args:
      asked: was a confidence?
    """
    present, codes = _named(found, "has_"), node_codes(tree, found[f"decoded/{main}"])
    there = np.any([*present.values()], axis=0)
    tops = found["level_topk"]
    level_topk = [level_codes(tree, k, tops[:, k]) for k in range(tree.num_levels)]
    confident = None
    if asked:  # of nothing there is nothing to be sure of
        sure = deepest(node_codes(tree, found["confident"]))
        confident = np.where(there, sure, "")
    return Answers(
        codes=codes,
        # STOP is no class: nothing was answered there
        prob=np.where(codes == "", 0.0, found["prob"]).astype(np.float32),
        log_prob=found["log_prob"],
        topk_codes=deepest(node_codes(tree, found["topk_paths"])),
        topk_probs=found["topk_probs"],
        level_topk=np.stack(level_topk, axis=1),
        confident=confident,
        present=present,
        embeddings=_named(found, "embedding/"),
        notes=(*notes, *(Note(int(i), "", NOTHING) for i in np.flatnonzero(~there))),
    )


def _named(found: Mapping[str, np.ndarray], start: str) -> dict[str, np.ndarray]:
    names = [name for name in found if name.startswith(start)]
    return {name.removeprefix(start): found[name] for name in names}
