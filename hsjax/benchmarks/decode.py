"""What `bench decode` measures: the tree distribution, against a plain softmax."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from hsjax.data.nomenclature import load_taxonomy
from hsjax.decodes import DECODES
from hsjax.hierarchy import label_log_probs, leaf_paths, node_log_probs
from hsjax.timing import headline, times_faster

CALLS = 10  # of a turn


def bench_decode(taxonomy: Path, *, rows: int, rounds: int) -> dict:
    """Rows per second of every decode and of the loss, and of softmax + argmax.

    `ours`, `peer`, `ratio` and `spread` are of the exact best path; the peer is of a
    softmax over the leaves alone.

    Args:
      taxonomy: taxonomy.json, or .csv with HS codes, or a list of paths.
      rows: of the batch.

    Raises:
      CatalogueError, TaxonomyError: it cannot be read.
    """
    settings = {"path": str(taxonomy), "kind": "codes", "edition": "", "stop": "none"}
    tree = load_taxonomy(ConfigDict({**settings, "digits": (2, 4, 6)}), separator=" > ")
    keys = jax.random.split(jax.random.key(0), tree.num_levels)
    logits = [
        jax.random.normal(key, (rows, size))
        for key, size in zip(keys, tree.sizes, strict=True)
    ]
    paths = leaf_paths(tree)  # a ragged tree has leaves at every level
    flat = jax.random.normal(keys[0], (rows, len(paths)))
    labels = jnp.asarray(paths[np.arange(rows) % len(paths)])
    functions = {
        "node_log_probs": lambda x: node_log_probs(x, tree),
        **{f"decode_{n}": lambda x, f=f: f(x, tree) for n, f in DECODES.items()},
        "loss_gradient": jax.grad(lambda x: label_log_probs(x, labels, tree).sum()),
    }
    plain = jax.jit(lambda x: (jax.nn.softmax(x), x.argmax(axis=1)))
    found = {}
    for name, function in functions.items():
        mine = jax.jit(function)
        found[name] = times_faster(
            lambda mine=mine: _repeated(mine, logits),
            lambda: _repeated(plain, flat),
            rounds=rounds,
        )
    peer = f"softmax + argmax over {len(paths):,} leaves"
    first = headline("decode", CALLS * rows, found["decode_path"], peer_is=peer)
    facts = {"nodes": list(tree.sizes), "rows": rows, "calls_per_round": CALLS}
    return first | facts | found


def _repeated(function: Callable, x) -> None:
    """One call takes some milliseconds, which anything disturbs."""
    for _ in range(CALLS):
        jax.block_until_ready(function(x))
