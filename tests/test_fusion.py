"""Ways of fusing modalities: by definition, at the start, and what a gate can do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_model_laws import mixed
from tiny import (
    bitwise_equal,
    drawn,
    ragged_tree,
    tiny_batch,
    tiny_config,
    tiny_model,
    tiny_spec,
)

from hsjax.models.fusion import FUSIONS, OPEN

TREE, ROWS, WIDTH = ragged_tree(0), 5, 7
NAMES = ("title", "brand", "image")
every_fusion = pytest.mark.parametrize("kind", FUSIONS)


def parts_of(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    parts = [jnp.asarray(rng.normal(size=(rows, WIDTH)), jnp.float32) for _ in NAMES]
    return parts, jnp.asarray(rng.random((rows, len(NAMES))) < 0.7)


def fused(kind, norm, params=None):
    parts, kept = parts_of()
    fuse = FUSIONS[kind](norm)
    start = fuse.init(jax.random.key(0), parts, NAMES, kept)
    params = start if params is None else params(start)
    found = fuse.apply(params, parts, NAMES, kept)
    return found, parts, kept, params.get("params", {})


def test_concat_and_product_of_raw_parts():
    found, parts, _, params = fused("concat", "raw")
    np.testing.assert_array_equal(found, np.concatenate(parts, axis=1))
    assert params == {}
    found, parts, _, _ = fused("product", "raw")
    np.testing.assert_allclose(found, parts[0] * parts[1] * parts[2], rtol=1e-6)


def test_gates_by_definition():
    found, parts, kept, params = fused("gated", "raw", params=drawn)
    seen = np.concatenate([*parts, np.asarray(kept, np.float32)], axis=1)
    expected = []
    for part, name in zip(parts, NAMES, strict=True):
        gate = params[f"{name}_gate"]
        z = seen @ np.asarray(gate["kernel"]) + np.asarray(gate["bias"])
        expected.append(np.asarray(part) / (1 + np.exp(-z)))
    expected = np.concatenate(expected, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_gates_are_nearly_open_at_the_start():
    for norm in ("layer", "raw"):
        (concat, *_), (gated, *_) = fused("concat", norm), fused("gated", norm)
        np.testing.assert_allclose(gated, concat / (1 + np.exp(-OPEN)), rtol=1e-5)
    assert 0.9 < 1 / (1 + np.exp(-OPEN)) < 1


@every_fusion
def test_laws_of_a_model_with_it(kind):
    names = ("title", "image")
    config = tiny_config(names, model__fusion__kind=kind)
    model, params, stats, batch = tiny_model(config, TREE, ROWS)
    apply = jax.jit(model.apply)
    found, _ = apply(params, stats, batch)
    other = tiny_batch(tiny_spec(config, TREE), TREE, ROWS, 9)
    again, _ = apply(params, stats, mixed(batch, other, 2))
    assert bitwise_equal(found.fused[:2], again.fused[:2])
    assert (np.abs(found.fused[2:] - again.fused[2:]).max(axis=1) > 1e-4).all()
    for gone in names:
        without = batch | {f"has_{gone}": np.zeros(ROWS, bool)}
        junk = {k: v for k, v in other.items() if k.startswith(gone)}
        a, b = (apply(params, stats, x)[0] for x in (without, without | junk))
        assert bitwise_equal(a.logits, b.logits)
        assert (np.abs(a.fused - found.fused).max(axis=1) > 1e-4).all()
    nothing = {f"has_{m}": np.zeros(ROWS, bool) for m in names}
    empty, _ = apply(params, stats, batch | nothing)
    assert all(np.isfinite(x).all() for x in empty.logits)


STATES = CLEAN, NOISY, ABSENT = range(3)


def goods(rows, seed):
    """(parts, kept, target, state): titles that are right, noise or not there.

    Noise is louder than a right title, and its first number gives it away; a picture is
    always there, and weak.
    """
    rng = np.random.default_rng(seed)
    target, state = rng.choice([-1.0, 1.0], rows), rng.integers(0, 3, rows)
    image = rng.normal(size=(rows, WIDTH)) + 0.4 * target[:, None]
    right = rng.normal(0, 0.3, (rows, WIDTH)) + target[:, None]
    noise = rng.normal(0, 3, (rows, WIDTH))
    right[:, 0], noise[:, 0] = 0.0, 3.0
    text = np.select([state[:, None] == s for s in STATES], [right, noise, 0.3])
    kept = np.stack([state != ABSENT, np.ones(rows, bool)], axis=1)
    arrays = (jnp.asarray(x, jnp.float32) for x in (text, image, target))
    text, image, target = arrays
    return [text, image], jnp.asarray(kept), target, state


def accuracy(kind, names=("title", "image")):
    """Of a linear classifier behind a fusion, by the state of the title."""
    fuse = FUSIONS[kind]("raw")
    parts, kept, target, _ = goods(8192, seed=0)

    def logits(params, parts, kept):
        return fuse.apply(params["fusion"], parts, names, kept) @ params["out"]

    def loss(params):
        return jax.nn.softplus(-target * logits(params, parts, kept)).mean()

    params = {
        "fusion": fuse.init(jax.random.key(0), parts, names, kept),
        "out": jnp.full(2 * WIDTH, 0.01),
    }
    optimizer = optax.adam(0.03)

    def step(carry, _):
        params, state = carry
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    train = jax.jit(lambda carry: jax.lax.scan(step, carry, length=300)[0])
    params, _ = train((params, optimizer.init(params)))
    parts, kept, target, state = goods(3000, seed=1)
    right = np.asarray(logits(params, parts, kept) * target) > 0
    return [float(right[state == s].mean()) for s in STATES]


def test_behind_a_gate_noise_does_no_harm_and_what_is_right_counts_in_full():
    """Without one, titles are trusted half: too much for noise, too little if right."""
    plain, gated = accuracy("concat"), accuracy("gated")
    assert plain[NOISY] < plain[ABSENT] - 0.02
    assert plain[CLEAN] < 0.95
    assert gated[NOISY] > gated[ABSENT] - 0.04
    assert gated[CLEAN] > 0.99
