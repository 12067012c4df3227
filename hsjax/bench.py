"""Speed, as JSON with a ratio to a peer that ran in turn with it.

python -m hsjax.bench tree --taxonomy=FILE   the tree distribution, against softmax
python -m hsjax.bench input --config=FILE     loader alone, step alone, both together
python -m hsjax.bench encode --config=FILE    a frozen encoder, against PyTorch's
python -m hsjax.bench cost --runs=FILE.jsonl --root=DIR   a product, row by row
python -m hsjax.bench heads --config=FILE     heads on features, against HiClass
python -m hsjax.bench compile --config=FILE --topology=v5e:2x4   no TPU is needed
python -m hsjax.bench loss                   contrastive losses, against dense ones
python -m hsjax.bench step --config=FILE      a training step, against PyTorch's
python -m hsjax.bench discover --config=FILE  clusters of generated vectors, K-means
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from absl import app, flags

from hsjax.atomic import write_atomically
from hsjax.main import CONFIG, parse_flags, show_log
from hsjax.timing import THREADS, alternate, is_noisy, pin

TAXONOMY = flags.DEFINE_string(
    "taxonomy", None, "taxonomy.json, or .csv with HS codes."
)
ROWS = flags.DEFINE_integer("rows", 1024, "Batch of `tree`.")
ITEMS = flags.DEFINE_integer(
    "items", 2048, "Items of `encode` (0 = all) and `discover`."
)
WIDTH = flags.DEFINE_integer("width", 64, "Numbers of a vector of `discover`.")
ROUNDS = flags.DEFINE_integer("rounds", 9, "Turns of each side.", lower_bound=7)
PAIRS = flags.DEFINE_integer("pairs", 4096, "Batch of `loss`.", lower_bound=2)
CHUNK = flags.DEFINE_integer("chunk", 1024, "Of `loss`: pictures of a block.", 1)
TRAIN_ROWS = flags.DEFINE_integer("train_rows", 4000, "Of `heads`; 0 = all.")
JOBS = flags.DEFINE_integer(
    "jobs", THREADS, "Processes of `heads`' peer: its nodes side by side.", 1
)
RUNS = flags.DEFINE_string("runs", None, "Of `cost`, as launch/sweep.py reads it.")
ROOT = flags.DEFINE_string("root", None, "Of `cost`: folder of the workdirs.")
SET = flags.DEFINE_multi_string("set", [], "Of `cost`, as for launch/sweep.py.")
ONLY = flags.DEFINE_list("only", [], "Of `cost`: rows of the list; default: all.")
OUTPUT = flags.DEFINE_string("output", None, "Of `cost`: FILE.md for a table.")
TOPOLOGY = flags.DEFINE_string("topology", None, "Of `compile`: v5e:2x4, ... | here.")
JSON_FILE = flags.DEFINE_string("json", None, "File for the JSON beside the screen.")


def bench_tree() -> dict:
    """Every decode and the loss of `hierarchy` against softmax + argmax of leaves."""
    import jax
    import jax.numpy as jnp
    from ml_collections import ConfigDict

    from hsjax.data.nomenclature import load_taxonomy
    from hsjax.decodes import DECODES
    from hsjax.hierarchy import label_log_probs, leaf_paths, node_log_probs

    settings = {"path": TAXONOMY.value, "kind": "codes", "edition": "", "stop": "none"}
    tree = load_taxonomy(ConfigDict({**settings, "digits": (2, 4, 6)}), separator=" > ")
    keys = jax.random.split(jax.random.key(0), tree.num_levels)
    logits = [
        jax.random.normal(key, (ROWS.value, size))
        for key, size in zip(keys, tree.sizes, strict=True)
    ]
    paths = leaf_paths(tree)  # a ragged tree has leaves at every level
    flat = jax.random.normal(keys[0], (ROWS.value, len(paths)))
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


def bench_loader() -> dict:
    """Examples per second of the loader alone, the step alone, and both together."""
    from hsjax.benchmarks.input import bench_input

    return bench_input(CONFIG.value, rounds=ROUNDS.value)


def bench_encoder() -> dict:
    """Items per second of a frozen encoder, and of the same one in PyTorch."""
    from hsjax.benchmarks.encode import bench_encode

    return bench_encode(CONFIG.value, items=ITEMS.value, rounds=ROUNDS.value)


def bench_costs() -> dict:
    """Parameters, FLOPs and time for a product, by the rows of a list of runs."""
    from hsjax.benchmarks.cost import bench_cost

    asked = {"common": SET.value, "only": ONLY.value, "rounds": ROUNDS.value}
    return bench_cost(Path(RUNS.value), Path(ROOT.value), **asked)


def bench_classifiers() -> dict:
    """Fits and answers a second of heads on features, and of HiClass."""
    from hsjax.benchmarks.heads import bench_heads

    asked = {"rows": TRAIN_ROWS.value, "rounds": ROUNDS.value, "jobs": JOBS.value}
    return bench_heads(CONFIG.value, **asked)


def bench_contrasts() -> dict:
    """Contrastive losses in blocks, or around a ring, and the dense ones."""
    from hsjax.benchmarks.loss import bench_loss

    options = {"chunk": CHUNK.value, "rounds": ROUNDS.value}
    return bench_loss(rows=PAIRS.value, **options)


def bench_discovery() -> dict:
    """A cascade of clusters, and K-means against scikit-learn's."""
    from hsjax.benchmarks.discover import bench_discover

    settings = CONFIG.value.recategorize
    asked = {"rows": ITEMS.value, "width": WIDTH.value, "rounds": ROUNDS.value}
    return bench_discover(settings, **asked)


def bench_training() -> dict:
    """A training step, and the same one of transformers, plain and compiled."""
    from hsjax.benchmarks.step import bench_step

    return bench_step(CONFIG.value, rounds=ROUNDS.value)


def bench_compilation() -> dict:
    """Bytes and operations of a training step for a machine that is not here."""
    from hsjax.benchmarks.ahead import bench_ahead

    return bench_ahead(CONFIG.value, TOPOLOGY.value)


BENCHES = {"tree": bench_tree, "input": bench_loader, "encode": bench_encoder}
BENCHES |= {"cost": bench_costs, "heads": bench_classifiers}
BENCHES |= {"step": bench_training}
BENCHES |= {"discover": bench_discovery, "loss": bench_contrasts}
BENCHES |= {"compile": bench_compilation}
NEEDED = {"tree": (TAXONOMY,), "input": (CONFIG,), "encode": (CONFIG,)}
NEEDED |= {"step": (CONFIG,)}
NEEDED |= {"cost": (RUNS, ROOT), "heads": (CONFIG,), "discover": (CONFIG,), "loss": ()}
NEEDED |= {"compile": (CONFIG, TOPOLOGY)}


def run(argv) -> None:
    if len(argv) != 2 or argv[1] not in BENCHES:
        raise app.UsageError(__doc__)
    for flag in NEEDED[argv[1]]:
        if not flag.value:
            raise app.UsageError(f"bench {argv[1]} needs --{flag.name}")
    result = {"bench": argv[1], **pin(), "rounds": ROUNDS.value}
    from hsjax.tasks.registry import user_errors

    files = [Path(flag.value) for flag in (OUTPUT, JSON_FILE) if flag.value]
    with user_errors():
        for path in files:  # before minutes of measuring
            path.parent.mkdir(parents=True, exist_ok=True)
        result |= BENCHES[argv[1]]()
    result["load_after"] = os.getloadavg()[0]
    result["noisy"] = is_noisy(result)
    text = json.dumps(result, indent=1)
    print(text)
    if argv[1] == "cost" and OUTPUT.value:
        from hsjax.benchmarks.cost import cost_markdown

        write_atomically(OUTPUT.value, cost_markdown(result))
        print(f"table: {OUTPUT.value}", file=sys.stderr)
    if JSON_FILE.value:
        write_atomically(JSON_FILE.value, text + "\n")


def main() -> None:
    show_log()
    app.run(run, flags_parser=parse_flags)


if __name__ == "__main__":
    sys.exit(main())
