"""Ways of fusing modalities: by definition, at the start, and what a gate can do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import FrozenConfigDict
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

from configs.base import get_config
from hsjax.models.fusion import FUSIONS, OPEN, Part

TREE, ROWS, WIDTH = ragged_tree(0), 5, 7
NAMES = ("title", "brand", "image")
every_fusion = pytest.mark.parametrize("kind", FUSIONS)


def parts_of(seed=0, rows=ROWS, states=(4, 3, 6)):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    parts = [
        Part(
            draw(rows, WIDTH),
            draw(rows, count, WIDTH),
            jnp.asarray(rng.random((rows, count)) < 0.7).at[:, 0].set(True),
        )
        for count in states
    ]
    return parts, jnp.asarray(rng.random((rows, len(NAMES))) < 0.7)


def fusion_of(kind, norm, **changes):
    """A fusion by its name, and what of its config is not the default."""
    config = get_config().model.fusion
    config.update({"norm": norm, "width": 11, "heads": 1, **changes})
    return FUSIONS[kind](FrozenConfigDict(config), jnp.dtype("float32"))


def fused(kind, norm, params=None, parts=None, **changes):
    drawn_parts, kept = parts_of()
    parts = drawn_parts if parts is None else parts
    fuse = fusion_of(kind, norm, **changes)
    start = fuse.init(jax.random.key(0), parts, NAMES, kept)
    params = start if params is None else params(start)
    found = fuse.apply(params, parts, NAMES, kept)
    return found, parts, kept, params.get("params", {})


def vectors(parts):
    return [np.asarray(part.vector, np.float64) for part in parts]


def test_concat_and_product_of_raw_parts():
    found, parts, _, params = fused("concat", "raw")
    np.testing.assert_array_equal(found, np.concatenate(vectors(parts), axis=1))
    assert params == {}
    found, parts, _, _ = fused("product", "raw")
    np.testing.assert_allclose(found, np.prod(vectors(parts), axis=0), rtol=1e-6)


def test_gates_by_definition():
    found, parts, kept, params = fused("gated", "raw", params=drawn)
    seen = np.concatenate([*vectors(parts), np.asarray(kept, np.float32)], axis=1)
    expected = []
    for part, name in zip(vectors(parts), NAMES, strict=True):
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


def dense(x, layer):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])


@pytest.mark.parametrize("joint", [0, 5])
def test_late_fusion_by_definition(joint):
    found, parts, _, params = fused("late", "raw", params=drawn, joint=joint)
    pairs = zip(vectors(parts), NAMES, strict=True)
    own = [np.maximum(dense(x, params[f"{name}_mlp"]), 0) for x, name in pairs]
    expected = np.concatenate(own, axis=1)
    if joint:
        expected = np.maximum(dense(expected, params["joint_mlp"]), 0)
    assert expected.shape[1] == (joint or 3 * 11)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("joint", [0, 5])
def test_the_largest_of_every_token_and_cell_by_definition(joint):
    found, parts, _, params = fused("late_max", "raw", params=drawn, joint=joint)
    rows = []
    for row in range(ROWS):
        own = []
        for part, name in zip(parts, NAMES, strict=True):
            states = np.asarray(part.states[row], np.float64)[part.mask[row]]
            own.append(np.maximum(dense(states, params[f"{name}_mlp"]), 0).max(axis=0))
        rows.append(np.concatenate(own))
    expected = np.array(rows)
    if joint:
        expected = np.maximum(dense(expected, params["joint_mlp"]), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_attention_by_definition():
    """Per row and text: softmax over the picture's cells, mean over the text's own."""
    found, parts, _, params = fused("attention", "raw", params=drawn)
    picture, expected = parts[2], []
    for row in range(ROWS):
        cells = np.asarray(picture.states[row], np.float64)[picture.mask[row]]
        seen = [vector[row] for vector in vectors(parts)]
        for part, name in zip(parts[:2], NAMES, strict=False):
            tokens = np.asarray(part.states[row], np.float64)[part.mask[row]]
            q, k, v = (
                dense(x, params[f"{name}_{what}"])
                for x, what in ((tokens, "query"), (cells, "key"), (cells, "value"))
            )
            weights = np.exp(q @ k.T / np.sqrt(WIDTH))
            weights /= weights.sum(axis=1, keepdims=True)
            seen.append(dense(weights @ v, params[f"{name}_found"]).mean(axis=0))
        expected.append(np.maximum(dense(np.concatenate(seen), params["mlp"]), 0))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [2, 3, 7])
def test_heads_need_not_divide_the_width(heads):
    found, *_, params = fused("attention", "layer", params=drawn, heads=heads)
    assert np.isfinite(found).all()
    inner = params["title_query"]["kernel"].shape[1]
    assert inner % heads == 0
    assert WIDTH <= inner < WIDTH + heads


@pytest.mark.parametrize("norm", ["layer", "raw"])
def test_a_picture_of_one_vector_is_found_whatever_is_asked(norm):
    """B20: with one key its weight is 1; with several the question counts."""

    def change(count):
        parts, kept = parts_of(states=(4, 3, count))
        other, _ = parts_of(seed=1, states=(4, 3, count))
        asked = [a._replace(states=b.states) for a, b in zip(parts, other, strict=True)]
        asked[2] = parts[2]
        full = [part._replace(mask=jnp.ones_like(part.mask)) for part in parts]
        asked = [part._replace(mask=jnp.ones_like(part.mask)) for part in asked]
        fuse = fusion_of("attention", norm)
        params = drawn(fuse.init(jax.random.key(0), full, NAMES, kept))
        a, b = (fuse.apply(params, x, NAMES, kept) for x in (full, asked))
        return np.abs(np.asarray(a) - np.asarray(b)).max()

    assert change(1) < 1e-6
    assert change(6) > 1e-3


@every_fusion
@pytest.mark.parametrize("of", ["joint", "feature"])
def test_laws_of_a_model_with_it(kind, of):
    names = ("title", "image")
    if (kind, of) == ("product", "feature"):
        pytest.skip("refused: the widths differ")
    fusion = {"kind": kind, "of": of, "heads": 1, "width": 19}
    config = tiny_config(names, **{f"model__fusion__{k}": v for k, v in fusion.items()})
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
    return [Part(text), Part(image)], jnp.asarray(kept), target, state


def accuracy(kind, names=("title", "image")):
    """Of a linear classifier behind a fusion, by the state of the title."""
    fuse = fusion_of(kind, "raw")
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
