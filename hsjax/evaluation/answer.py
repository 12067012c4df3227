"""Everything that is asked of a batch, as one function to be jitted."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from hsjax.decodes import DECODES, confident_path, level_topk, topk_paths
from hsjax.expected_cost import COST, least_cost_path
from hsjax.filing import cheapest_action
from hsjax.hierarchy import IMPOSSIBLE, label_log_probs, node_log_probs
from hsjax.leaf_sets import leaf_set, set_sizes
from hsjax.prefix import below
from hsjax.taxonomy import Taxonomy
from hsjax.temperature import tempered
from hsjax.tree.costs import PairCosts

PREFIX = "prefix"  # of a batch: ids of a path that is known already
OF_ROWS = ("weight", "index")  # of a batch, which its answers keep
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
      set_least: also sets of leaves of this probability, see `leaf_set`; set_leasts:
        how large sets of each are. stakes: also the cheapest action.
    """

    names = decodes if costs is None else (*decodes, COST)

    def answer(params, stats, batch, confidence=None, temperatures=None, **asked):
        outputs, _ = apply(params, stats, batch)
        whole, logits = conditioned(outputs.logits, tree, temperatures, batch)
        decoded = {name: decode_of(name, costs)(logits, tree) for name in names}
        found = {f"decoded/{name}": labels for name, labels in decoded.items()}
        found |= {
            "prob": _node_probs(logits, decoded[main], tree),
            "log_prob": label_log_probs(logits, decoded[main], tree).sum(axis=1),
            "level_topk": level_topk(logits, tree, topk),
        }
        found |= _best_paths(logits, tree, topk)
        if confidence is not None:
            found["confident"] = confident_path(logits, tree, confidence)
        beside = _beside(whole, logits, tree, topk, **asked)
        if truth:
            beside |= _truth_facts(logits, batch["labels"], tree)
        found |= {f"asked/{name}": values for name, values in beside.items()}
        found |= _present(outputs, batch)
        losses = {} if objective is None else objective(outputs, batch)[1]
        found |= {f"loss/{name}": jnp.stack(pair) for name, pair in losses.items()}
        return found

    return answer


def decode_of(name: str, costs: PairCosts | None) -> Callable:
    """`decode(logits, tree)` of `DECODES`, or by the least expected of these costs."""
    if name == COST:
        return functools.partial(least_cost_path, costs=costs)
    return DECODES[name]


def conditioned(logits, tree: Taxonomy, temperatures, batch):
    """(Logits at the temperatures, the same below the prefixes of a batch)."""
    if temperatures is not None:
        logits = tempered(logits, tree, temperatures)
    prefix = batch.get(PREFIX)
    return logits, logits if prefix is None else below(logits, tree, prefix)


def _best_paths(logits, tree: Taxonomy, topk: int) -> dict[str, jax.Array]:
    paths, log_probs = topk_paths(logits, tree, topk)
    # below a prefix there may be fewer than k leaves
    possible = log_probs[..., None] > IMPOSSIBLE / 2
    return {
        "topk_paths": jnp.where(possible, paths, -1),
        "topk_probs": jnp.exp(log_probs),
    }


def _beside(
    whole,
    logits,
    tree: Taxonomy,
    topk: int,
    *,
    set_least=None,
    set_leasts=None,
    stakes=None,
) -> dict[str, jax.Array]:
    """What only some ask for: `whole` is without a prefix, `logits` below it."""
    found = {}
    if set_least is not None:
        within = None if whole is logits else logits
        options = {"most": SET_LEAVES, "within": within}
        names = ("set_paths", "set_count", "set_node")
        named = leaf_set(whole, tree, set_least, **options)
        found |= dict(zip(names, named, strict=True))
    if set_leasts is not None:
        found["set_sizes"] = set_sizes(whole, tree, set_leasts)
    if stakes is not None:
        names = ("action", "expected_cost", "file_path")
        chosen = cheapest_action(logits, tree, stakes, shown=topk)
        found |= dict(zip(names, chosen, strict=True))
    return found


def _present(outputs, batch) -> dict[str, jax.Array]:
    """Embeddings, which modality is there, and whose row it is."""
    found = {}
    if outputs.text is not None:  # zero already where every text stream is absent
        found["embedding/text"] = outputs.text
    if outputs.image is not None:
        here = batch["has_image"][:, None]
        found["embedding/image"] = jnp.where(here, outputs.image, 0.0)
    kept = [name for name in batch if name.startswith("has_") or name in OF_ROWS]
    return found | {name: batch[name] for name in kept}


def _truth_facts(logits, labels, tree: Taxonomy) -> dict[str, jax.Array]:
    """What a calibration is fitted on and judged by: see `judged`."""
    ids, probs = [], []
    for level, log_probs in enumerate(node_log_probs(logits, tree)):
        slot = jnp.argmax(log_probs, axis=1)
        ids.append(jnp.asarray(tree.layout[level].ids)[slot])
        probs.append(jnp.exp(jnp.max(log_probs, axis=1)))
    return {
        "best": jnp.stack(ids, axis=1),
        "best_prob": jnp.stack(probs, axis=1),
        "labels": labels,
        # of the label's own nodes, to the last bit as sets and answers compare it
        "label_prob": _node_probs(logits, labels, tree),
        "label_log_probs": label_log_probs(logits, labels, tree),
    }


def _node_probs(logits, labels, tree: Taxonomy):
    """(B, L) p(node) of each answered node, 0 below the end."""
    columns = []
    for level, log_probs in enumerate(node_log_probs(logits, tree)):
        slots = jnp.asarray(tree.layout[level].slots)[jnp.maximum(labels[:, level], 0)]
        picked = jnp.take_along_axis(log_probs, slots[:, None], axis=1)[:, 0]
        columns.append(jnp.where(labels[:, level] >= 0, jnp.exp(picked), 0.0))
    return jnp.stack(columns, axis=1)
