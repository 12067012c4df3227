"""Floating-point operations of a whole classifier: towers, projections, fusion, head.

See `flops` for what is counted.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping

import jax
import numpy as np

from hsjax.batch import IMAGE, BatchSpec
from hsjax.models.flops import attention, dense, tower_flops
from hsjax.models.fusion import FUSIONS
from hsjax.models.head import leaf_ids
from hsjax.models.towers import Towers, make_encoder


def forward_flops(model: Towers, spec: BatchSpec, rows: int) -> dict[str, int]:
    """Part of a model, as its parameters are called -> operations of a batch.

    Args:
      spec: of the batch, whose texts may be shorter than others of the run.
    """
    c, found, parts = model.config, Counter(), {}
    projected = c.fusion.of == "joint" or c.objective.contrastive
    states = FUSIONS[c.fusion.kind].reads_states
    for name in c.modalities:
        tower = name if name == IMAGE or name in c.text else "text"
        shape = dict(spec.features).get(name)
        if shape is None:
            shape, operations = _encoded(model, spec, name, tower, states)
            found[tower] += rows * operations
        else:
            tower = name
        shape = shape if states else shape[-1:]
        items = math.prod(shape[:-1])
        if projected:
            found[f"{tower}_joint"] += rows * dense(items, shape[-1], c.joint_width)
        width = c.joint_width if c.fusion.of == "joint" else shape[-1]
        parts[name] = items, width
        if name == IMAGE and c.objective.self_supervised:
            hidden = dense(1, shape[-1], shape[-1])
            hidden += dense(1, shape[-1], c.view_width)
            found["views"] += rows * spec.image[0] * hidden
    operations, width = fusion_flops(c.fusion, parts)
    found["fusion"] = rows * operations
    found["head"] = head_flops(model, width, rows)
    return {name: count for name, count in found.items() if count}


def training_flops(forward: Mapping[str, int], trained: Collection[str]) -> int:
    """Of forward and backward pass, by what one forward pass takes of each part.

    A product is differentiated by two of its size: by its parameters where these are
    trained, by its input where anything below is. Towers, of which nothing is below,
    take both or none: of the first layer it is too much, and of one that is frozen in
    part.

    >>> training_flops({"text": 10, "head": 1}, {"text", "head"})
    33
    >>> training_flops({"text": 10, "head": 1}, {"head"})
    12

    Args:
      trained: the parts with a parameter that is trained.
    """
    behind = ("fusion", "head", "views")
    towers = [name for name in forward if not name.endswith("_joint")]
    towers = [name for name in towers if name not in behind]
    joints = [name for name in forward if name.endswith("_joint")]
    total = 0
    for name, count in forward.items():
        if name in towers:
            total += count * (3 if name in trained else 1)
            continue
        below = joints + towers if name in behind else towers
        below = below + ["fusion"] if name == "head" else below
        below = any(other in trained for other in below)
        total += count * (1 + (name in trained) + below)
    return total


def _encoded(model: Towers, spec: BatchSpec, name: str, tower: str, states: bool):
    """(shape of what a tower says of one item, its operations of it)."""
    module = make_encoder(model, name, tower, states=states)
    if name == IMAGE:
        views, *size = spec.image
        shape, views = (
            tuple(size),
            views if model.config.objective.self_supervised else 1,
        )
        given = np.zeros((1, *size, 3), np.float32), np.ones(1, np.float32)
    else:
        shape, views = dict(spec.lengths)[name], 1
        given = np.zeros((1, shape), np.int32), np.ones((1, shape), bool)
    given = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in given]
    said, _ = jax.eval_shape(
        lambda key, *rows: module.init_with_output(key, *rows, training=False),
        jax.random.key(0),
        *given,
    )
    return said.shape[1:], views * tower_flops(module, shape)


def fusion_flops(config, parts: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """(operations of one product, width of what comes out).

    Args:
      config: `model.fusion`.
      parts: modality -> (states, width).
    """
    kind, out, widths = config.kind, config.width, [w for _, w in parts.values()]
    total, found = sum(widths), 0
    if kind == "concat":
        return 0, total
    if kind == "product":
        return 0, widths[0]
    if kind == "gated":
        return sum(dense(1, total + len(widths), w) for w in widths), total
    if kind == "attention":
        cells, wide = parts[IMAGE]
        inner = -(-wide // config.heads) * config.heads
        texts = [part for name, part in parts.items() if name != IMAGE]
        for tokens, width in texts:
            found += dense(tokens, width, inner) + 2 * dense(cells, wide, inner)
            found += attention(tokens, cells, inner) + dense(tokens, inner, wide)
        found, width = found + dense(1, total + len(texts) * wide, out), out
    else:
        states = kind == "late_max"
        found = sum(dense(n if states else 1, w, out) for n, w in parts.values())
        width = len(widths) * out
    if not config.joint:
        return found, width
    return found + dense(1, width, config.joint), config.joint


def head_flops(model: Towers, width: int, rows: int) -> int:
    """Of a batch: texts of labels are projected once for all of its rows.

    Args:
      width: of the fused vector.
    """
    c, tree, labels = model.config.head, model.tree, model.labels
    found, shared = dense(rows, width, c.width), c.width or width
    learns = labels is None or c.label_mix == "both"
    flat = c.kind == "flat"
    sizes = (len(leaf_ids(tree)),) if flat else tree.sizes
    for level, classes in enumerate(sizes):
        seen = shared
        if level and c.feed != "none":
            seen += sizes[level - 1]
        if learns and c.level_width and not flat:
            found, seen = found + dense(rows, seen, c.level_width), c.level_width
        found += dense(rows, seen, classes) if learns else 0
        if labels is not None:
            known = labels.vectors[level].shape[-1]
            found += dense(rows, shared, c.label_width)
            found += dense(classes, known, c.label_width)
            found += dense(rows, c.label_width, classes)
    return found
