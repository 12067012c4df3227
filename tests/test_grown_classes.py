"""New classes start from what they came from: the same answers as a projection."""

import logging
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from test_correlation import table
from tiny import tiny_config, tiny_model

from hsjax.data.correlation import Correlation, Pair
from hsjax.hierarchy import leaf_log_probs
from hsjax.inference.projection import Projection
from hsjax.settings.choices import check_choices
from hsjax.taxonomy import Taxonomy
from hsjax.train.grown_classes import grow_classes
from hsjax.train.warmstart import warm_start
from hsjax.train.workdir import ConfigError
from hsjax.trained.growing import source_classes

OLD = ("610910", "610990", "851761", "851762", "854810")
NEW = ("610910", "610990", "851771", "851779", "851762", "854900", "620342")
PAIRS = [
    ("851761", "851771", 0.7),
    ("851761", "851779", 0.3),
    ("854810", "854900", None),
]
HEADS = {
    "fed": {},
    "fed through layers": {"model__head__level_width": 5},
    "not fed": {"model__head__feed": "none"},
    "batch norm": {"model__head__norm": "batch", "model__head__level_width": 5},
}


def tree_of(codes, edition):
    return Taxonomy.from_paths([(c[:2], c[:4], c) for c in codes], edition=edition)


def grown(pairs, old, new, head):
    """(old model's leaves, new model's leaves, projection) of the same products."""
    config = tiny_config(("title",), model__text__depth=0, **HEADS[head])
    trees = tree_of(old, "2017"), tree_of(new, "2022")
    model, params, stats, batch = tiny_model(config, trees[0])
    now, fresh, fresh_stats, _ = tiny_model(config, trees[1])
    tables = Correlation({("2017", "2022"): [Pair(*x, "WCO") for x in pairs]})
    projection = Projection(tables, *trees)
    values = jax.tree.map(np.asarray, (params, stats))
    found = grow_classes(
        values,
        trees[0],
        trees[1],
        shares=projection.node_shares(),
        head=config.model.head,
    )
    heads = (config.model.head,) * 2
    begin = warm_start(
        found.values, found.tree, trees[1], heads=heads, rules=((".*", "load"),)
    )
    starts = (jax.tree.map(np.asarray, x) for x in (fresh, fresh_stats))
    started = tuple(begin(x) for x in starts)
    batch = batch | {"labels": np.full_like(batch["labels"], -1)}
    before = jax.jit(model.apply)(params, stats, batch)[0].logits
    after = jax.jit(now.apply)(*started, batch)[0].logits
    leaves = [
        np.exp(np.asarray(leaf_log_probs(x, tree), np.float64))
        for x, tree in zip((before, after), trees, strict=True)
    ]
    return *leaves, projection, found


@pytest.mark.parametrize("head", HEADS)
def test_a_divided_class_answers_as_the_projection(head):
    """Nothing new that comes from nowhere: the whole distribution is the projected."""
    new = [code for code in NEW if code != "620342"]
    before, after, projection, found = grown(PAIRS, OLD, new, head)
    np.testing.assert_allclose(after, projection.project(before), atol=1e-5)
    assert found.count == 4  # three leaves and a heading
    codes = found.tree.codes[2].tolist()
    assert codes[: len(OLD)] == list(OLD)
    assert set(codes[len(OLD) :]) == {"851771", "851779", "854900"}


def test_equal_classes_that_are_merged_have_their_sum():
    old, new = ("610910", "610920", "610990"), ("610930", "610990")
    pairs = [("610910", "610930", None), ("610920", "610930", None)]
    config = tiny_config(("title",), model__text__depth=0, model__head__feed="none")
    trees = tree_of(old, "2017"), tree_of(new, "2022")
    _, params, stats, _ = tiny_model(config, trees[0])
    params = jax.tree.map(np.array, params)
    for part in params["head"]["level3"].values():
        part[..., 1] = part[..., 0]
    tables = Correlation({("2017", "2022"): [Pair(*x, "WCO") for x in pairs]})
    shares = Projection(tables, *trees).node_shares()
    (found, _), _, count = grow_classes(
        (params, stats), *trees, shares=shares, head=config.model.head
    )
    assert count == 1
    level = found["head"]["level3"]
    np.testing.assert_allclose(level["kernel"][:, 3], level["kernel"][:, 0], rtol=1e-6)
    np.testing.assert_allclose(
        level["bias"][3], level["bias"][0] + np.log(2), rtol=1e-6
    )


def test_what_comes_from_nowhere_stays_fresh_and_columns_follow_their_class():
    _, _, _, found = grown(PAIRS, OLD, NEW, "fed")
    codes = [code for level in found.tree.codes for code in level.tolist()]
    assert not {"62", "6203", "620342"} & set(codes)
    assert found.tree.edition == "2017"


def test_a_config_that_asks_for_it_is_read(tmp_path, caplog):
    rows = [("2017", a, "2022", b, w or "", "WCO") for a, b, w in PAIRS]
    config = tiny_config(("title",), model__text__depth=0, init_classes="predecessors")
    config.taxonomy.correlation = (str(table(tmp_path, rows)),)
    config.init_from = "runs/before"
    old, new = tree_of(OLD, "2017"), tree_of(NEW, "2022")
    _, params, stats, _ = tiny_model(config, old)
    run = SimpleNamespace(params=params, stats=stats, tree=old, config=config)
    with caplog.at_level(logging.INFO, "hsjax"):
        _, tree = source_classes(config, run, new)
    assert "4 new classes start from their predecessors" in caplog.text
    assert tree.sizes == (2, 4, 8)
    config.init_classes = "fresh"
    assert source_classes(config, run, new)[1] is old
    config.init_classes = "predecessors"
    with pytest.raises(ConfigError, match="3 levels where this tree has 2"):
        source_classes(config, run, new.top(2))
    config.init_from, config.taxonomy.path = None, "tree.json"
    with pytest.raises(
        ConfigError, match="init_classes is 'predecessors', and nothing"
    ):
        check_choices(config)
