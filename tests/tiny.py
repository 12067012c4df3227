"""Small trees, batches and models that several proofs share."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from configs.base import get_config
from hsjax.batch import BatchSpec
from hsjax.hierarchy import leaf_paths
from hsjax.models.build import build_model
from hsjax.sharding import parameter_names
from hsjax.taxonomy import Taxonomy
from hsjax.tree.codes import join_levels

VOCAB = 23
TEXTS = (("title", 7), ("brand", 5))


def ragged_tree(seed, depth=3):
    """A random tree with leaves, only children and STOP children at several levels."""
    rng = np.random.default_rng(seed)
    paths, ended, frontier = [], [], [()]
    for level in range(depth):
        grown = []
        for position, path in enumerate(frontier):
            least = 3 if not level else int(position == 0)
            for child in range(rng.integers(least, 5)):
                grown.append((*path, f"n{rng.integers(100):02d}{child}"))
                paths.append(join_levels(grown[-1]))
                ended.append(bool(rng.random() < 0.5))
        frontier = grown
    return Taxonomy.from_paths(paths, complete=ended, separator=" > ")


def random_logits(tree, rows, seed, scale=2.0):
    rng = np.random.default_rng(seed)
    levels = [rng.normal(0, scale, (rows, c)) for c in tree.sizes]
    return [jnp.asarray(x, jnp.float32) for x in levels]


def random_labels(tree, rows, seed):
    """Paths to leaves, a STOP first where there is one; the last ones are not known."""
    rng = np.random.default_rng(seed)
    leaves = leaf_paths(tree)
    labels = leaves[rng.integers(0, len(leaves), rows)]
    stopped = [any(tree.stop[k][i] for k, i in enumerate(p) if i >= 0) for p in leaves]
    labels[0] = leaves[int(np.argmax(stopped))]
    labels[rows // 2 :, 1:] = -1
    labels[-1] = -1
    return labels.astype(np.int32)


def tiny_config(modalities=("title", "image"), **changes):
    """The default config with prime sizes; `changes` are dotted keys, '.' as '__'."""
    config = get_config()
    small = {
        "modalities": modalities,
        "joint_width": 11,
        "text": {"width": 14, "depth": 1, "heads": 2, "mlp": 13, "dropout": 0.0},
        "image": {"stem": "small", "stages": (1, 1), "widths": (8, 11)},
        "head": {"width": 17, "dropout": 0.0},
    }
    config.model.update(small)
    config.update_from_flattened_dict(
        {re.sub("__", ".", key): value for key, value in changes.items()}
    )
    return config


def tiny_spec(config, tree, image=(1, 13, 11)):
    names = config.model.modalities
    texts = tuple(x for x in TEXTS if x[0] in names)
    return BatchSpec(texts, image if "image" in names else None, tree.num_levels)


def tiny_batch(spec, tree, rows, seed=0):
    """Everything is there, every label is the path to a leaf, no group repeats."""
    rng = np.random.default_rng(seed)
    batch = spec.padding(rows)
    for name, length in spec.lengths:
        used = rng.integers(2, length + 1, rows)
        batch[f"{name}_mask"] = np.arange(length)[None] < used[:, None]
        ids = rng.integers(5, VOCAB, (rows, length)).astype(np.int32)
        batch[f"{name}_ids"] = np.where(batch[f"{name}_mask"], ids, 0)
    if spec.image:
        batch["image"] = rng.integers(0, 256, (rows, *spec.image, 3), np.uint8)
    for name in spec.modalities:
        batch[f"has_{name}"][:] = True
    leaves = leaf_paths(tree)
    batch["labels"] = leaves[rng.integers(0, len(leaves), rows)].astype(np.int32)
    batch["group"] = batch["index"] = np.arange(rows, dtype=np.int32)
    batch["weight"] = np.ones(rows, np.float32)
    return batch


def drawn(shapes, seed=7):
    """Arrays in place of shapes: no special start, no program to compile."""
    rng = np.random.default_rng(seed)

    def draw(name, leaf):
        x = rng.normal(size=leaf.shape)
        if name.endswith(("scale", "var")):
            x = 1 + 0.2 * np.abs(x)
        elif name.endswith("kernel"):
            x = x / np.sqrt(np.prod(leaf.shape[:-1]))
        return jnp.asarray(0.5 * x, leaf.dtype)

    leaves = jax.tree.leaves(shapes)
    pairs = zip(parameter_names(shapes), leaves, strict=True)
    return jax.tree.unflatten(jax.tree.structure(shapes), [draw(*p) for p in pairs])


def tiny_model(config, tree, rows=5, image=(1, 13, 11)):
    """(model, params, stats, batch)."""
    spec = tiny_spec(config, tree, image)
    model = build_model(config, spec, tree, vocab_size=VOCAB)
    batch = tiny_batch(spec, tree, rows)
    params, stats = jax.eval_shape(model.init, jax.random.key(0), batch)
    return model, drawn(params), drawn(stats), batch


def largest_difference(a, b):
    """Over all leaves of two trees of arrays of the same structure."""
    gaps = jax.tree.map(
        lambda x, y: float(np.max(np.abs(np.asarray(x) - np.asarray(y)), initial=0)),
        a,
        b,
    )
    return max(jax.tree.leaves(gaps))


def bitwise_equal(a, b):
    """Same structure, same dtypes, same bits."""
    same = jax.tree.map(
        lambda x, y: (
            x.dtype == y.dtype and np.array_equal(np.asarray(x), np.asarray(y))
        ),
        a,
        b,
    )
    return all(jax.tree.leaves(same))


def leaves(tree) -> dict:
    """Every array of a tree by its path."""
    return {jax.tree_util.keystr(k): v for k, v in jax.tree.leaves_with_path(tree)}


def data_config(products=40, **synthetic_keys):
    """`config.data` of a small synthetic catalogue."""
    config = get_config().data
    config.synthetic.products = products
    config.synthetic.update(synthetic_keys)
    return config
