"""Why each product got its code, as plain data for people and programs."""

from collections.abc import Mapping

import numpy as np

from hsjax.batch import IMAGE
from hsjax.data.content import content_key
from hsjax.evaluation.zero_shot import node_text
from hsjax.explanation.asked import Asked, without_modality
from hsjax.explanation.attribution import Attribution
from hsjax.explanation.occlusion import stream_text
from hsjax.explanation.precedents import Precedents
from hsjax.explanation.space import make_vectors, sides_of
from hsjax.hierarchy import IMPOSSIBLE
from hsjax.taxonomy import Taxonomy

NOTHING, UNSEEN = "nothing present", "unseen words"
# columns of answers beside the code that is explained
ASKED = ("set_codes", "set_node", "action", "file_code", "current", "code")


class Evidence:
    """`evidence(place, answer)`: all that is known of one product's answer.

    Args:
      precedents: None = not asked for.
      count: of precedents by text, by image and by both.
    """

    def __init__(self, asked: Asked, precedents: Precedents | None, count: int) -> None:
        self.asked, self.tree, self.precedents = asked, asked.tree, precedents
        self.attribution = Attribution(asked)
        self._names, self._near = _named(asked.tree), {}
        if precedents is not None:
            vectors = asked.said(make_vectors(asked.run))
            self._near = {
                side: precedents.nearest(side, vectors[side], count)
                for side in sides_of(asked.run)
            }

    def __call__(self, place: int, answer: Mapping) -> dict:
        """Of the product at a place, whose row of `answer_table` is `answer`."""
        record = self.asked.records[place]
        told = {"row": record.row, "id": record.id, "texts": dict(record.texts)}
        told["flags"] = self._flags(place)
        if not answer["pred"]:
            return {**told, "answer": None, "reason": answer["reason"]}
        log_prob = self.asked.variants(place, {"weight": np.ones(1, np.float32)})
        top = zip(answer["topk_codes"], answer["topk_probs"], strict=True)
        return {
            **told,
            "answer": {
                "code": answer["pred"],
                "name": answer["name"],
                "log_prob": float(log_prob[0]),
                **{k: answer[k] for k in ("stage", "pred_confident") if answer.get(k)},
            },
            "asked": {k: answer[k] for k in ASKED if answer.get(k)},
            "path": self._path(place, answer),
            "top": [
                {"code": c, "name": self._names.get(c, c), "probability": p}
                for c, p in top
            ],
            "modalities": without_modality(self.asked, place),
            "attribution": self.attribution(place),
            "precedents": self._precedents(place),
        }

    def _flags(self, place: int) -> list[dict]:
        """What makes the answer doubtful, whatever its probability."""
        asked, found = self.asked, []
        names = asked.run.spec.modalities
        if not any(asked.batch[f"has_{m}"][place] for m in names):
            found.append({"flag": NOTHING})
        if self.precedents is not None:
            texts = [stream_text(asked, place, m) for m in names if m != IMAGE]
            if words := self.precedents.unseen(texts):
                found.append({"flag": UNSEEN, "words": words})
        return found

    def _path(self, place: int, answer: Mapping) -> list[dict]:
        """Each level's node, and the sibling that was nearest to being answered.

        `probability`, of both, and `behind` are of the one distribution over the tree.
        Isotonic maps are of single nodes: `calibrated` is what they make of the answer.
        """
        known, found = self.asked.run.calibration, []
        for level, node in enumerate(self.asked.labels[place].tolist()):
            code = answer[f"pred_level{level + 1}"]
            if node < 0 or not (code or self.tree.stop[level][node]):
                break
            own = float(np.exp(self.asked.nodes[level][place, node]))
            told = {"level": level + 1, **_node(self.tree, level, node)}
            told["probability"] = own
            if code:
                mapped = bool(known and known.maps)
                name = "calibrated" if mapped else "probability"
                told[name] = answer[f"prob_level{level + 1}"]
            found.append({**told, "nearly": self._sibling(place, level, node, own)})
        return found

    def _sibling(self, place: int, level: int, node: int, own: float) -> dict | None:
        """The most probable other child of the same parent; None = there is none."""
        parents = self.tree.parents[level]
        others = np.flatnonzero(parents == parents[node])
        others = others[others != node]
        if not len(others):
            return None
        log_probs = self.asked.nodes[level][place, others]
        if log_probs.max() < IMPOSSIBLE / 2:  # all lie outside what is known
            return None
        best = int(others[log_probs.argmax()])
        probability = float(np.exp(log_probs.max()))
        told = _node(self.tree, level, best)
        return {**told, "probability": probability, "behind": own - probability}

    def _precedents(self, place: int) -> dict[str, list[dict]]:
        own = content_key(self.asked.records[place])
        return {
            side: [self._precedent(*pair, own) for pair in near[place]]
            for side, near in self._near.items()
        }

    def _precedent(self, position: int, cosine: float, own: str) -> dict:
        (row,) = self.precedents.rows.slice(position, 1).to_pylist()
        same = row.pop("content") == own
        del row["group"]
        name = self._names.get(row["label"], row["label"])
        return {**row, "name": name, "cosine": cosine, "same": same}


def _node(tree: Taxonomy, level: int, node: int) -> dict[str, str]:
    """Code, name and heading; of a STOP child, of the node at which a product ends."""
    if tree.stop[level][node]:
        above = _node(tree, level - 1, int(tree.parents[level][node]))
        return {**above, "code": "", "name": f"ends at {above['name']}"}
    return {
        "code": str(tree.codes[level][node]),
        "name": str(tree.names[level][node]),
        "heading": node_text(tree, level, node, "path"),
    }


def _named(tree: Taxonomy) -> dict[str, str]:
    """Code -> name, of every node."""
    pairs = zip(tree.codes, tree.names, strict=True)
    return {
        code: name
        for codes, names in pairs
        for code, name in zip(codes.tolist(), names.tolist(), strict=True)
    }
