"""Formulas of operations against XLA's own count of the compiled program.

XLA also counts sums, norms and activations, and not the products of padding of a
convolution. With widths of 64 and more these are little: TOLERANCE is what they may be.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import ragged_tree, tiny_config

from hsjax.batch import BatchSpec
from hsjax.models.build import build_model
from hsjax.models.flops import tower_flops
from hsjax.models.label_tower import LabelFeatures
from hsjax.models.model_flops import training_flops
from hsjax.models.resnet import ResNet
from hsjax.models.text import TextEncoder
from hsjax.models.vgg import VGG
from hsjax.models.vit import VisionTransformer
from hsjax.sharding import make_mesh
from hsjax.train.speed import PEAKS, peak_flops, speed, step_flops

TOLERANCE = 0.07
FLOAT = jnp.dtype(jnp.float32)


def text(pool="mean", **options):
    shape = 50, 24, 256, 2, 4, 1024, 0.0
    return TextEncoder(*shape, pool, True, FLOAT, **options), 24


def vit(pool="cls", **options):
    shape = 8, 256, 2, 4, 1024, 0.0
    return VisionTransformer(*shape, pool, FLOAT, **options), (48, 40)


def resnet(stem, block, **options):
    shape = stem, block, (2, 1), (32, 64), "group", 0.0
    return ResNet(*shape, FLOAT, **options), (96, 64)


TOWERS = {
    "text": lambda: text(),
    "text-projected": lambda: text("map", projection=64, bag=32),
    "text-albert": lambda: text("cls", shared=1, embedding_width=64),
    "vit": lambda: vit(),
    "vit-map": lambda: vit("map"),
    "vit-projected": lambda: vit(projection=96, tokens=("cls_token", "other_token")),
    "resnet-basic": lambda: resnet("strided", "basic"),
    "resnet-bottleneck": lambda: resnet("large", "bottleneck"),
    "resnet-first-stride": lambda: resnet("small", "bottleneck", stride_in=1),
    "vgg": lambda: (
        VGG((1, 2), (32, 48), 64, 4, "fc7", 0.0, FLOAT),
        (48, 48),
    ),
}


def of_xla(function, *arguments):
    """What XLA says that the compiled program costs."""
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled.cost_analysis()["flops"]


def near(ratio) -> bool:
    print(f"XLA / ours {ratio:.3f}")
    return 1 - TOLERANCE < ratio < 1 + TOLERANCE


@pytest.mark.parametrize("name", TOWERS)
def test_towers(name):
    module, shape = TOWERS[name]()
    if isinstance(module, TextEncoder):
        rows = jnp.ones((2, shape), jnp.int32), jnp.ones((2, shape), bool)
    else:
        rows = jnp.ones((2, *shape, 3)), jnp.ones(2)
    forward = functools.partial(module.apply, training=False)
    init = functools.partial(module.init, training=False)
    variables = jax.eval_shape(init, jax.random.key(0), *rows)
    said = of_xla(forward, variables, *rows)
    assert near(said / (2 * tower_flops(module, shape)))


TREE = ragged_tree(0)
SIZE = (1, 32, 24)
WIDE = {
    "model__joint_width": 96,
    "model__text__width": 256,
    "model__text__mlp": 1024,
    "model__text__depth": 2,
    "model__image__family": "vit",
    "model__image__patch": 8,
    "model__image__width": 256,
    "model__image__mlp": 1024,
    "model__image__depth": 2,
    "model__head__width": 256,
}


def built(config, spec, rows, labels=None):
    """(model, what it is given): everything is there."""
    model = build_model(config, spec, TREE, vocab_size=50, labels=labels)
    batch = jax.tree.map(jnp.asarray, spec.padding(rows))
    params, stats = jax.eval_shape(model.init, jax.random.key(0), batch)
    return model, params, stats, batch


def ratio(model, params, stats, batch, spec):
    """Of XLA's count to ours."""
    rows = len(batch["weight"])
    found = model.flops(spec, rows)
    assert found.keys() <= params.keys()  # named as the parameters are
    said = of_xla(lambda *x: model.apply(*x)[0], params, stats, batch)
    return said / sum(found.values())


def test_a_whole_model_of_raw_modalities():
    config = tiny_config(("title", "brand", "image"), **WIDE)
    spec = BatchSpec((("title", 20), ("brand", 9)), SIZE, TREE.num_levels)
    assert near(ratio(*built(config, spec, 4), spec))


# behind the towers: on features, which cost nothing, with texts of 6 and 9 tokens
BEHIND = {
    "concat": {},
    "no-projection": {"model__fusion__of": "feature", "objective__contrastive": 0.0},
    "product": {"model__fusion__kind": "product"},
    "gated": {"model__fusion__kind": "gated"},
    "late": {"model__fusion__kind": "late", "model__fusion__joint": 300},
    "late_max": {"model__fusion__kind": "late_max"},
    "attention": {"model__fusion__kind": "attention"},
    "flat": {"model__head__kind": "flat"},
    "levels": {"model__head__level_width": 200, "model__head__feed": "none"},
    "labels": {"model__head__labels": "x", "model__head__label_width": 512},
    "labels-alone": {
        "model__head__labels": "x",
        "model__head__label_mix": "tower",
        "model__head__kind": "flat",
    },
}


@pytest.mark.parametrize("name", BEHIND)
def test_behind_the_towers(name):
    wide = {"model__joint_width": 384, "model__head__width": 512}
    wide |= {"model__fusion__width": 320}
    config = tiny_config(("title", "brand", "image"), **wide, **BEHIND[name])
    features = (("title", (6, 256)), ("brand", (9, 256)), ("image", (5, 320)))
    spec = BatchSpec((), None, TREE.num_levels, features)
    known = labels() if config.model.head.labels else None
    assert near(ratio(*built(config, spec, 32, known), spec))


def labels(width=256):
    vectors = tuple(np.ones((n, width), np.float32) for n in TREE.sizes)
    return LabelFeatures(vectors, tuple(np.ones(n, bool) for n in TREE.sizes))


@pytest.mark.parametrize("frozen", [(), ("text", "image"), ("image",)])
def test_the_backward_pass_by_what_is_trained(frozen):
    config = tiny_config(("title", "image"), **WIDE)
    spec = BatchSpec((("title", 20),), SIZE, TREE.num_levels)
    model, params, stats, batch = built(config, spec, 4)

    def loss(params):
        stop = jax.lax.stop_gradient
        params = {k: stop(v) if k in frozen else v for k, v in params.items()}
        return model.apply(params, stats, batch)[0].fused.sum()

    forward = model.flops(spec, 4)
    forward.pop("head")  # of which nothing is asked here
    expected = training_flops(forward, params.keys() - set(frozen))
    assert near(of_xla(jax.value_and_grad(loss), params) / expected)


def test_the_share_of_the_peak_is_told_where_the_peak_is_known(monkeypatch):
    mesh = make_mesh(2)
    assert speed(6, 2.0, mesh) == {"model_flops_per_second": 3.0}  # of CPUs no guess
    kind = mesh.devices.flat[0].device_kind
    monkeypatch.setitem(PEAKS, kind, 5.0)
    assert peak_flops(mesh) == 10.0
    assert speed(6, 2.0, mesh) == {"model_flops_per_second": 3.0, "mfu": 0.3}


def test_a_step_is_counted_by_rules_and_lengths():
    config = tiny_config(("title", "image"), **WIDE, data__batch_size=4)
    spec = BatchSpec((("title", 20),), SIZE, TREE.num_levels)
    model, params, _, _ = built(config, spec, 4)
    flops, forward = step_flops(config, model, params), model.flops(spec, 4)
    assert flops(spec) == 3 * sum(forward.values())
    assert flops(spec.cut(10)) < flops(spec)
    frozen = ((r"(text|image)/.*", 0.0, False), *config.optim.rules)
    with config.unlocked():
        config.optim.rules = frozen
    towers = forward["text"] + forward["image"]
    joints = sum(v for k, v in forward.items() if k.endswith("_joint"))
    rest = sum(forward.values()) - towers - joints
    found = step_flops(config, model, params)(spec)
    assert found == towers + 2 * joints + 3 * rest
