"""Every image family equals its reference: forward, gradient, and on real weights."""

import functools
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens import (
    IMAGES,
    PARITY,
    REAL,
    RESNETS,
    fixed_pictures,
    read_golden,
    weights,
    write_golden,
    written_back,
)
from tiny import bitwise_equal

from hsjax.models.image_families import IMAGE_FAMILIES
from hsjax.models.preprocessing import read_preprocessing
from hsjax.models.published_files import PublishedError, read_published
from hsjax.models.published_weights import (
    find_family,
    load_parameters,
    to_tensors,
)
from hsjax.models.vgg import average_to
from hsjax.models.vit import resize_bicubic

TOLERANCE, BF16 = 1e-5, 0.03  # of the largest value, if above 1
every_golden = pytest.mark.parametrize("name", IMAGES)


@functools.cache
def loaded(name):
    """(family, settings, variables) by our loader."""
    with tempfile.TemporaryDirectory() as directory:
        return load(read_published(write_golden(name, Path(directory))))


def load(checkpoint):
    family = find_family(checkpoint, IMAGE_FAMILIES)
    settings, *variables = load_parameters(family, checkpoint)
    params, stats = jax.tree.map(jnp.asarray, variables)
    return family, settings, {"params": params, "stats": stats}


def module(name, dtype=jnp.float32, **options):
    family, settings, variables = loaded(name)
    options = {"dropout": 0.0} | options
    return family.module(**settings | options, dtype=jnp.dtype(dtype)), variables


def say(name, pixels, **options):
    encoder, variables = module(name, **options)

    def evaluate(variables, pixels, weight):
        return encoder.apply(variables, pixels, weight, training=False)

    return jax.jit(evaluate)(variables, jnp.asarray(pixels), jnp.ones(len(pixels)))


def error(ours, theirs):
    """Largest difference; of the largest value, where that is above 1."""
    assert ours.shape == theirs.shape
    ours = np.asarray(ours, np.float32)
    return np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())


@every_golden
def test_forward(name, record_property):
    said = say(name, read_golden(name).inputs["native"])
    wrong = error(said, read_golden(name).outputs["native"])
    record_property("parity", (name, "forward", float(wrong)))
    assert said.dtype == jnp.float32
    assert wrong < TOLERANCE


@every_golden
def test_forward_and_gradient_at_another_size(name, record_property):
    encoder, variables = module(name)

    def loss(params, pixels):
        parts = variables | {"params": params}
        said = encoder.apply(parts, pixels, jnp.ones(len(pixels)), training=False)
        return jnp.square(said).sum(), said

    pixels = jnp.asarray(read_golden(name).inputs["other"])
    gradient = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
    (found, of_pixels), said = gradient(variables["params"], pixels)
    assert error(said, read_golden(name).outputs["other"]) < TOLERANCE
    family, settings, _ = loaded(name)
    ours = to_tensors(family, settings, found, variables["stats"])
    theirs = dict(read_golden(name).gradients)
    errors = {"pixels": error(of_pixels, theirs.pop("pixels"))}
    for tensor, expected in theirs.items():
        short = tensor
        for prefix in family.prefixes:
            short = short.removeprefix(prefix)
        errors[tensor] = error(ours[short].reshape(expected.shape), expected)
    record_property("parity", (name, "gradient", float(max(errors.values()))))
    assert len(errors) > 2
    assert max(errors.values()) < TOLERANCE, errors


@every_golden
def test_bfloat16_stays_near(name, record_property):
    said = say(name, read_golden(name).inputs["native"], dtype=jnp.bfloat16)
    wrong = error(said, read_golden(name).outputs["native"])
    record_property("parity", (name, "bfloat16", float(wrong)))
    assert TOLERANCE < wrong < BF16


@every_golden
def test_neighbours_and_rows_of_weight_0_do_not_matter(name):
    encoder, variables = module(name)

    def train(variables, pixels, weight):
        return encoder.apply(
            variables, pixels, weight, training=True, mutable=["stats"]
        )

    pixels = jnp.asarray(read_golden(name).inputs["native"])
    other = pixels.at[1:].set(7 * pixels[:0:-1])
    whole, stats = jax.jit(train)(variables, pixels, jnp.ones(3))
    mixed, _ = jax.jit(train)(variables, other, jnp.array([1.0, 0, 0]))
    assert bitwise_equal(whole[0], mixed[0])
    assert np.abs(whole[1:] - mixed[1:]).max() > 1e-3
    # pretrained statistics are read, in training as well, and never written
    assert bitwise_equal(stats.get("stats", {}), variables["stats"])
    np.testing.assert_allclose(whole, say(name, pixels), rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(
        say(name, pixels[:1]), whole[:1], rtol=TOLERANCE, atol=TOLERANCE
    )


@pytest.mark.parametrize("name", RESNETS)
def test_thawed_statistics_move(name):
    encoder, variables = module(name, frozen_stats=False)
    pixels = jnp.asarray(read_golden(name).inputs["native"])
    train = functools.partial(encoder.apply, training=True, mutable=["stats"])
    _, after = jax.jit(train)(variables, pixels, jnp.ones(3))
    assert not bitwise_equal(after["stats"], variables["stats"])


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("size", ["native", "other"])
def test_patches_are_pooled_without_the_tokens_before_them(pool, size):
    said = say("vit", read_golden("vit").inputs[size], pool=pool)
    assert error(said, read_golden("vit").outputs[f"{size}/{pool}"]) < TOLERANCE


def test_attention_pooling_sees_every_patch():
    encoder, variables = module("deit", pool="map")
    pixels, weight = jnp.asarray(read_golden("deit").inputs["native"]), jnp.ones(3)
    init = functools.partial(encoder.init, training=False)
    fresh = jax.jit(init)(jax.random.key(0), pixels, weight)["params"]
    params = fresh | variables["params"]
    assert params.keys() - variables["params"].keys() == {"pool"}

    @jax.jit
    def evaluate(pixels):
        return encoder.apply({"params": params}, pixels, weight, training=False)

    whole = evaluate(pixels)
    assert whole.shape == (3, 12)
    for y, x in ((0, 0), (0, 19), (19, 0), (19, 19)):
        moved = evaluate(pixels.at[:, y, x].add(3.0))
        assert (np.abs(moved - whole).max(axis=1) > 1e-5).all()


@pytest.mark.parametrize("name", ["clip_image", "clip_vision_model"])
def test_the_projection_of_clip_may_be_left_out(name, tmp_path):
    checkpoint = read_published(write_golden(name, tmp_path))
    family = find_family(checkpoint, IMAGE_FAMILIES)
    bare = family._replace(settings=lambda c: family.settings(c) | {"projection": 0})
    settings, params, _ = load_parameters(bare, checkpoint)
    params = jax.tree.map(jnp.asarray, params)
    pixels = jnp.asarray(read_golden(name).inputs["native"])
    encoder = family.module(**settings, dtype=jnp.dtype(jnp.float32))
    said = encoder.apply({"params": params}, pixels, jnp.ones(3), training=False)
    assert said.shape == (3, 12)
    kernel = read_golden(name).tensors["visual_projection.weight"].T
    assert error(said @ kernel, read_golden(name).outputs["native"]) < TOLERANCE


def test_resampling_is_that_of_the_reference():
    golden = read_golden("resampling")
    table, stored = jnp.asarray(golden.inputs["table"]), golden.outputs
    for height, width in golden.facts["sizes"]:
        key = f"{height}x{width}"
        assert (
            error(resize_bicubic(table, (height, width)), stored[f"bicubic/{key}"])
            < 1e-6
        )
        if height == width:
            said = average_to(table[None], height)[0]
            assert error(said, stored[f"average/{key}"]) < 1e-6
    same = resize_bicubic(table, table.shape[:2])
    assert bitwise_equal(same, table)
    # not the curve of jax.image.resize
    other = jax.image.resize(table, (7, 3, 2), "cubic", antialias=False)
    assert error(other, stored["bicubic/7x3"]) > 1e-2


@every_golden
def test_writing_what_was_read_is_a_round_trip(name, tmp_path):
    source = read_published(write_golden(name, tmp_path))
    family, settings, variables = load(source)
    again = written_back(dict(source.tensors), family, settings, *variables.values())
    assert again.keys() == dict(source.tensors).keys()
    for tensor, value in source.tensors.items():
        assert value.shape == again[tensor].shape
        np.testing.assert_array_equal(value, again[tensor])


REFUSED = {
    "giant": ("dinov2", {"use_swiglu_ffn": True}, "use_swiglu_ffn"),
    "no-bias": ("vit", {"qkv_bias": False}, "qkv_bias is False; only True"),
    "grey": ("deit", {"num_channels": 1}, "num_channels is 1; only 3"),
    "activation": (
        "vit",
        {"hidden_act": "swish"},
        "hidden_act is 'swish'; only 'gelu'",
    ),
    "oblong": ("vit", {"patch_size": [4, 5]}, "only square patches"),
    "heads": ("vit", {"num_attention_heads": 5}, "no multiple"),
    "layers": ("vit", {"num_hidden_layers": 3}, "lacks .*encoder.layer.2"),
    "fewer": ("vit", {"num_hidden_layers": 1}, "used by nothing.*encoder.layer.1"),
    "side": ("vit", {"image_size": 25}, r"position_embeddings is \(1, 17, 12\)"),
    "curve": ("resnet_basic", {"hidden_act": "gelu"}, "only 'relu'"),
    "type": ("resnet_basic", {"layer_type": "preact"}, "'basic', 'bottleneck'"),
    "first": ("resnet_stride1", {"downsample_in_first_stage": True}, "only False"),
    "stages": ("resnet_stride1", {"depths": [1]}, "1 depths, but 2 hidden_sizes"),
    "widths": ("resnet_stride1", {"hidden_sizes": [9, 12]}, "no multiples of 4"),
    "pool": ("vgg", {"pool": "fc6"}, "pool is 'fc6'; only 'fc7', 'mean'"),
    "vgg": ("vgg", {"widths": [4]}, "2 stages, but 1 widths"),
    "other": ("vit", {"model_type": "swin"}, "model_type is 'swin'; known: .*dinov2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_known_is_refused_in_words(case, tmp_path):
    name, changes, words = REFUSED[case]
    checkpoint = read_published(write_golden(name, tmp_path, **changes))
    with pytest.raises(PublishedError, match=words) as caught:
        load(checkpoint)
    assert "\n" not in str(caught.value)


STATS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5]}
SIZES = {
    "number": ({"size": 224}, (224, 224), (224, 224)),
    "sides": ({"size": {"height": 30, "width": 20}}, (30, 20), (30, 20)),
    "crop": (
        {"size": {"shortest_edge": 256}, "crop_size": 224},
        (256,) * 2,
        (224,) * 2,
    ),
    "crop-sides": (
        {"size": 40, "crop_size": {"height": 30, "width": 20}},
        (40, 40),
        (30, 20),
    ),
    "no-crop": ({"size": 9, "crop_size": 8, "do_center_crop": False}, (9, 9), (9, 9)),
    "share": ({"size": 224, "crop_pct": 0.875}, (256, 256), (224, 224)),
    "large": ({"size": 384, "crop_pct": 0.875}, (384, 384), (384, 384)),
    "within": ({"image_processor": {"size": 7} | STATS}, (7, 7), (7, 7)),
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes_of_a_preprocessor(case):
    config, resize, size = SIZES[case]
    found = read_preprocessing(config | STATS)
    assert (found.resize, found.size) == (resize, size)
    assert found.mean == (0.5, 0.4, 0.3)
    assert found.std == (0.2, 0.25, 0.5)
    assert found.resample == "bicubic"


def test_mean_and_std_follow_the_factor():
    pixels = np.array([0.0, 100.0, 255.0])
    for factor, options in (
        (1 / 255, {}),
        (1 / 127.5, {"rescale_factor": 1 / 127.5}),
        (1.0, {"do_rescale": False}),
        (1 / 255, {"do_normalize": False, "resample": 2}),
    ):
        found = read_preprocessing({"size": 8} | STATS | options)
        mean, std = (np.array(STATS[key]) for key in STATS)
        if "do_normalize" in options:
            mean, std = 0, 1
            assert found.resample == "bilinear"
        theirs = (pixels * factor - mean) / std
        np.testing.assert_allclose(
            (pixels / 255 - found.mean) / found.std, theirs, rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "no preprocessor_config.json: put one beside"),
        ({"size": 8}, "image_mean is None, not three numbers"),
        (STATS, "lacks size"),
        (STATS | {"size": 8, "image_std": [1, 1]}, "not three numbers"),
        (STATS | {"size": 8, "image_std": [1, 0, 1]}, "not above 0"),
        (STATS | {"size": "big"}, "size is 'big'"),
        (STATS | {"size": {"shortest_edge": 8, "longest_edge": 9}}, "longest_edge"),
        (STATS | {"size": 8, "crop_size": 9}, "larger than the picture"),
        (STATS | {"size": 8, "do_resize": False}, "do_resize is false"),
        (STATS | {"size": 8, "rescale_factor": 0}, "rescale_factor 0"),
        (STATS | {"size": 8, "rescale_factor": "x"}, "'x', not a number"),
        (STATS | {"size": 8, "rescale_offset": True}, "rescale_offset"),
        (STATS | {"size": 8, "resample": 9}, "resample is 9"),
        (STATS | {"size": 8, "crop_pct": 2}, "not a share"),
    ],
)
def test_a_preprocessor_that_cannot_be_followed(config, words):
    with pytest.raises(PublishedError, match=words) as caught:
        read_preprocessing(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", REAL)
def test_real_weights(name, record_property):
    directory, side = REAL[name]
    folder = weights(directory)
    if folder is None or not (PARITY / f"{name}.npz").exists():
        pytest.skip(f"no {directory} below $HSJAX_WEIGHTS or ../shared/weights")
    checkpoint = read_published(folder)
    family, settings, variables = load(checkpoint)
    known = read_preprocessing(checkpoint.preprocessor)
    mean, std = (jnp.array(x).reshape(1, 1, 1, 3) for x in (known.mean, known.std))
    encoder = family.module(**settings, dtype=jnp.dtype(jnp.float32))

    @jax.jit
    def evaluate(variables, pixels):
        pixels = (pixels.astype(jnp.float32) / 255.0 - mean) / std
        return encoder.apply(variables, pixels, jnp.ones(4), training=False)

    said = evaluate(variables, jnp.asarray(fixed_pictures(side)))
    wrong = error(said, read_golden(name).outputs["pooled"])
    record_property("parity", (name, "forward", float(wrong)))
    assert wrong < TOLERANCE
