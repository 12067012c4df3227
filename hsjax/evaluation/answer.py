"""Everything that is asked of a batch, as one function to be jitted."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from hsjax.decodes import DECODES, confident_path, level_topk, topk_paths
from hsjax.expected_cost import COST, least_cost_path
from hsjax.filing import Stakes, cheapest_action
from hsjax.hierarchy import IMPOSSIBLE, label_log_probs, node_log_probs
from hsjax.leaf_sets import leaf_set, set_sizes
from hsjax.prefix import below
from hsjax.taxonomy import Taxonomy
from hsjax.temperature import tempered
from hsjax.tree.costs import PairCosts

PREFIX = "prefix"  # of a batch: ids of a path that is known already
SET_LEAVES = 20  # of a set that are named


def make_answer(
    apply: Callable,
    tree: Taxonomy,
    *,
    decodes: Sequence[str] = tuple(DECODES),
    main: str = "path",
    topk: int = 5,
    objective: Callable | None = None,
    costs: PairCosts | None = None,
    truth: bool = False,
) -> Callable:
    """`answer(params, stats, batch, **asked) -> dict of arrays`, to be jitted.

    Everything that is asked of a batch in one program: decodes, probabilities, top-k,
    embeddings, with `objective` the losses, with `costs` the decode `cost`, and with
    `truth` what calibrations are fitted on (`truth_facts`). A batch that has a `prefix`
    is answered below it. What may be asked, as arrays:

      confidence: also the deepest node that is so probable, see `confident_path`.
      temperatures: all probabilities are those at these, see `tempered`.
      set_least: also sets of leaves of this probability, see `leaf_set`.
      stakes: also the cheapest action, see `cheapest_action`.
      set_leasts: how large sets of each of these probabilities are, see `set_sizes`.
    """

    def answer(
        params,
        stats,
        batch,
        confidence=None,
        temperatures=None,
        set_least=None,
        stakes: Stakes | None = None,
        set_leasts=None,
    ):
        outputs, _ = apply(params, stats, batch)
        logits, prefix = outputs.logits, batch.get(PREFIX)
        if temperatures is not None:
            logits = tempered(logits, tree, temperatures)
        whole = logits
        if prefix is not None:
            logits = below(logits, tree, prefix)
        decoded = {name: DECODES[name](logits, tree) for name in decodes}
        if costs is not None:
            decoded[COST] = least_cost_path(logits, tree, costs)
        paths, log_probs = topk_paths(logits, tree, topk)
        if prefix is not None:  # where fewer than k leaves lie below it
            paths = jnp.where(log_probs[..., None] > IMPOSSIBLE / 2, paths, -1)
        found = {f"decoded/{name}": labels for name, labels in decoded.items()}
        found |= {
            "prob": _node_probs(logits, decoded[main], tree),
            "log_prob": label_log_probs(logits, decoded[main], tree).sum(axis=1),
            "topk_paths": paths,
            "topk_probs": jnp.exp(log_probs),
            "level_topk": level_topk(logits, tree, topk),
            "weight": batch["weight"],
        }
        if confidence is not None:
            found["confident"] = confident_path(logits, tree, confidence)
        if set_least is not None:
            within = None if prefix is None else logits
            options = {"most": SET_LEAVES, "within": within}
            named = leaf_set(whole, tree, set_least, **options)
            names = ("set_paths", "set_count", "set_node")
            found |= {f"asked/{k}": v for k, v in zip(names, named, strict=True)}
        if stakes is not None:
            chosen = cheapest_action(logits, tree, stakes, shown=topk)
            names = ("action", "expected_cost", "file_path")
            found |= {f"asked/{k}": v for k, v in zip(names, chosen, strict=True)}
        if truth:
            found |= _truth_facts(logits, batch["labels"], tree)
        if set_leasts is not None:
            found["asked/set_sizes"] = set_sizes(logits, tree, set_leasts)
        found |= _present(outputs, batch)
        if objective is not None:
            _, losses = objective(outputs, batch)
            found |= {f"loss/{name}": jnp.stack(pair) for name, pair in losses.items()}
        return found

    return answer


def _present(outputs, batch) -> dict[str, jax.Array]:
    """Embeddings, and which modality is there."""
    found = {}
    if outputs.text is not None:  # zero already where every text stream is absent
        found["embedding/text"] = outputs.text
    if outputs.image is not None:
        here = batch["has_image"][:, None]
        found["embedding/image"] = jnp.where(here, outputs.image, 0.0)
    return found | {k: here for k, here in batch.items() if k.startswith("has_")}


def _truth_facts(logits, labels, tree: Taxonomy) -> dict[str, jax.Array]:
    """What a calibration is fitted on and judged by: see `judged`."""
    ids, probs = [], []
    for level, log_probs in enumerate(node_log_probs(logits, tree)):
        slot = jnp.argmax(log_probs, axis=1)
        ids.append(jnp.asarray(tree.layout[level].ids)[slot])
        probs.append(jnp.exp(jnp.max(log_probs, axis=1)))
    return {
        "asked/best": jnp.stack(ids, axis=1),
        "asked/best_prob": jnp.stack(probs, axis=1),
        "asked/labels": labels,
        "asked/label_log_probs": label_log_probs(logits, labels, tree),
    }


def _node_probs(logits, labels, tree: Taxonomy):
    """(B, L) p(node) of each answered node, 0 below the end."""
    columns = []
    for level, log_probs in enumerate(node_log_probs(logits, tree)):
        slots = jnp.asarray(tree.layout[level].slots)[jnp.maximum(labels[:, level], 0)]
        picked = jnp.take_along_axis(log_probs, slots[:, None], axis=1)[:, 0]
        columns.append(jnp.where(labels[:, level] >= 0, jnp.exp(picked), 0.0))
    return jnp.stack(columns, axis=1)
