"""What `bench decode` measures: the tree distribution, against a plain softmax.

The exact best path stands beside the usual way, too, in which siblings are segments
that `jax.ops` sums.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from hsjax.benchmarks.memory import sizes_of
from hsjax.data.nomenclature import load_taxonomy
from hsjax.decodes import DECODES
from hsjax.hierarchy import label_log_probs, leaf_columns, leaf_paths, node_log_probs
from hsjax.taxonomy import Taxonomy
from hsjax.timing import headline, times_faster

CALLS = 10  # of a turn


def bench_decode(taxonomy: Path, *, rows: int, rounds: int) -> dict:
    """Rows per second of every decode and of the loss, and of softmax + argmax.

    `ours`, `peer`, `ratio` and `spread` are of the exact best path; the peer is of a
    softmax over the leaves alone. `segment_sums` is the same path beside the usual way,
    `temporary_bytes` what its compiled program holds between input and answer.

    Args:
      taxonomy: taxonomy.json, or .csv with HS codes, or a list of paths.
      rows: of the batch.

    Raises:
      CatalogueError, TaxonomyError: it cannot be read.
    """
    settings = {"path": str(taxonomy), "kind": "codes", "stop": "none"}
    settings |= {"edition": "", "correlation": "", "digits": (2, 4, 6)}
    tree = load_taxonomy(ConfigDict(settings), separator=" > ")
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
    found["segment_sums"], memory = _beside_segments(logits, tree, rounds)
    peer = f"softmax + argmax over {len(paths):,} leaves"
    first = headline("decode", CALLS * rows, found["decode_path"], peer_is=peer)
    facts = {"nodes": list(tree.sizes), "rows": rows, "calls_per_round": CALLS}
    facts |= {"temporary_bytes": memory}
    if memory is not None:
        facts["temporary_bytes_per_row_and_node"] = memory / rows / sum(tree.sizes)
    return first | facts | found


def _beside_segments(logits, tree: Taxonomy, rounds: int) -> tuple[dict, int | None]:
    """(times of the exact path beside `segment_path`, its temporary bytes)."""
    path, segments = (
        jax.jit(lambda x, f=f: f(x, tree)) for f in (DECODES["path"], segment_path)
    )
    times = times_faster(
        lambda: _repeated(path, logits),
        lambda: _repeated(segments, logits),
        rounds=rounds,
    )
    return times, sizes_of(path.lower(logits).compile())["temp"]


def segment_path(
    logits: Sequence[Float[Array, "B _"]], tree: Taxonomy
) -> Int[Array, "B L"]:
    """The exact best path by sums over segments: the children of each parent."""
    levels = []
    for level, x in enumerate(logits):
        parents = tree.parents[level][tree.layout[level].ids]
        owner = tree.layout[level - 1].slots[parents] if level else 0 * parents
        owner = jnp.asarray(owner, jnp.int32)
        size = {"num_segments": tree.sizes[level - 1] if level else 1}
        top = jax.ops.segment_max(x.T, owner, **size)[owner].T
        total = jax.ops.segment_sum(jnp.exp(x - top).T, owner, **size)[owner].T
        inside = x - top - jnp.log(total)
        levels.append(inside + levels[-1][:, owner] if level else inside)
    best = jnp.argmax(leaf_columns(levels, tree), axis=1)
    return jnp.asarray(leaf_paths(tree))[best]


def _repeated(function: Callable, x) -> None:
    """One call takes some milliseconds, which anything disturbs."""
    for _ in range(CALLS):
        jax.block_until_ready(function(x))
