"""Speed, as JSON with a ratio to a peer that ran in turn with it.

python -m hsjax.bench tree --taxonomy=FILE   the tree distribution, against softmax
python -m hsjax.bench input --config=FILE     loader alone, step alone, both together
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags

from hsjax.main import CONFIG, show_log

TAXONOMY = flags.DEFINE_string(
    "taxonomy", None, "taxonomy.json, or .csv with HS codes."
)
ROWS = flags.DEFINE_integer("rows", 1024, "Batch of `tree`.")
ROUNDS = flags.DEFINE_integer("rounds", 9, "Turns of each side, at least 7.")
OUTPUT = flags.DEFINE_string("output", None, "File for the JSON beside the screen.")


def alternate(ours: Callable, peer: Callable, *, rounds: int) -> dict:
    """Median seconds of both, run in turn after a warm-up, and the ratio ours / peer.

    `noisy` says that other work was going on: load above cores + 0.5.
    """
    times = {ours: [], peer: []}
    for turn in range(rounds + 1):
        for side in (ours, peer):
            start = time.perf_counter()
            side()
            if turn:
                times[side].append(time.perf_counter() - start)
    ratios = np.array(times[ours]) / np.array(times[peer])
    return {
        "ours_seconds": float(np.median(times[ours])),
        "peer_seconds": float(np.median(times[peer])),
        "ratio": float(np.median(ratios)),
        "ratio_quartiles": np.percentile(ratios, [25, 75]).tolist(),
        "rounds": rounds,
    }


def circumstances() -> dict:
    """Load and cores, and whether a figure may be quoted."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    return {"load": load, "cores": cores, "noisy": load > cores + 0.5}


def bench_tree() -> dict:
    """Every decode and the loss of `hierarchy` against softmax + argmax of leaves."""
    import jax
    import jax.numpy as jnp
    from ml_collections import ConfigDict

    from hsjax.data.nomenclature import load_taxonomy
    from hsjax.hierarchy import DECODES, label_log_probs, leaf_paths, node_log_probs

    settings = {"path": TAXONOMY.value, "kind": "codes", "edition": "", "stop": "none"}
    tree = load_taxonomy(ConfigDict({**settings, "digits": (2, 4, 6)}), separator=" > ")
    keys = jax.random.split(jax.random.key(0), tree.num_levels)
    logits = [
        jax.random.normal(key, (ROWS.value, size))
        for key, size in zip(keys, tree.sizes, strict=True)
    ]
    flat = jax.random.normal(keys[0], (ROWS.value, int(tree.leaf[-1].sum())))
    paths = leaf_paths(tree)
    labels = jnp.asarray(paths[np.arange(ROWS.value) % len(paths)])
    functions = {
        "node_log_probs": lambda x: node_log_probs(x, tree),
        **{f"decode_{n}": lambda x, f=f: f(x, tree) for n, f in DECODES.items()},
        "loss_gradient": jax.grad(lambda x: label_log_probs(x, labels, tree).sum()),
    }
    plain = jax.jit(lambda x: (jax.nn.softmax(x), x.argmax(axis=1)))
    results = {
        "nodes": list(tree.sizes),
        "rows": ROWS.value,
        "peer": "softmax + argmax",
    }
    for name, function in functions.items():
        mine = jax.jit(function)
        results[name] = alternate(
            lambda mine=mine: jax.block_until_ready(mine(logits)),
            lambda: jax.block_until_ready(plain(flat)),
            rounds=ROUNDS.value,
        )
    return results


def bench_input() -> dict:
    """Examples per second of the loader alone, the step alone, and both together."""
    import jax

    from hsjax.check import make_timed_step
    from hsjax.data.batches import prefetched
    from hsjax.data.prepare import read_catalogue
    from hsjax.sharding import make_mesh, place_batch
    from hsjax.tasks import training_task
    from hsjax.train.start import training_order
    from hsjax.train.watch import Stopwatch

    config = CONFIG.value
    catalogue, mesh = read_catalogue(config), make_mesh()
    order = training_order(config, training_task(config, catalogue).train)
    data, steps = config.data, 8 * ROUNDS.value

    def stream():
        options = {"threads": data.threads, "workers": data.workers}
        return prefetched(order, start=0, buffer=data.prefetch, **options)

    batches = stream()
    loaded = [next(batches) for _ in range(data.prefetch + 1)]  # the buffer has run dry
    start = time.perf_counter()
    loaded = [next(batches) for _ in range(steps)]
    loader = time.perf_counter() - start
    step, state, running = make_timed_step(config, catalogue, mesh)
    state, running = step(state, running, place_batch(loaded[0], mesh))
    jax.block_until_ready(state)
    start = time.perf_counter()
    for batch in loaded:
        state, running = step(state, running, place_batch(batch, mesh))
    jax.block_until_ready(state)
    alone = time.perf_counter() - start
    batches, watch = stream(), Stopwatch()
    for _ in range(steps):
        batch = place_batch(watch.wait(batches), mesh)
        state, running = step(state, running, batch)
    jax.block_until_ready(state)
    count = steps * data.batch_size
    return {
        "batch_size": data.batch_size,
        "steps": steps,
        "loader_alone_per_second": count / loader,
        "step_alone_per_second": count / alone,
        "together_per_second": count / watch.total,
        "input_wait": watch.waited / watch.total,
    }


BENCHES = {"tree": bench_tree, "input": bench_input}


def run(argv) -> None:
    needed = {"tree": TAXONOMY, "input": CONFIG}
    if len(argv) != 2 or argv[1] not in BENCHES or not needed[argv[1]].value:
        raise app.UsageError(__doc__)
    from hsjax.tasks import user_errors

    with user_errors():
        result = {"bench": argv[1], **circumstances(), **BENCHES[argv[1]]()}
    text = json.dumps(result, indent=1)
    if OUTPUT.value:
        Path(OUTPUT.value).write_text(text + "\n")
    print(text)


def main() -> None:
    show_log()
    app.run(run)


if __name__ == "__main__":
    sys.exit(main())
