"""Warm starts: what moves to another tree, what stays fresh, what is refused."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from tiny import (
    VOCAB,
    bitwise_equal,
    ragged_tree,
    tiny_config,
    tiny_model,
    tiny_spec,
)

from hsjax.models.build import build_model
from hsjax.sharding import make_mesh, parameter_names
from hsjax.tasks import registry as tasks
from hsjax.taxonomy import Taxonomy
from hsjax.train.start import initial_state
from hsjax.train.warmstart import warm_start
from hsjax.train.workdir import ConfigError

LOAD = ((".*", "load"),)
FRESH = 7.0
OLD = ("392410", "420211", "420212", "420221", "610910", "610990", "620342")
CODES = {
    "the same": OLD,
    # as many nodes at every level, one heading and its subheadings are others
    "renamed": [c.replace("6109", "6110") for c in OLD],
    # a chapter less, a subheading more
    "edited": (*OLD[1:], "420299"),
}
HEADS = {
    "fed": {},
    "fed through layers": {"model__head__level_width": 5},
    "not fed": {"model__head__feed": "none"},
    "layers, not fed": {"model__head__feed": "none", "model__head__level_width": 5},
    "no shared layer": {"model__head__width": 0},
}


def tree_of(codes):
    return Taxonomy.from_paths([(c[:2], c[:4], c) for c in codes])


def config_of(head):
    return tiny_config(("title",), model__text__depth=0, **HEADS[head])


def numpy_params(config, tree):
    return jax.tree.map(np.asarray, tiny_model(config, tree)[1])


def start(codes, head, *, other=None, rules=LOAD, told=print):
    """(source, started) with fresh parameters of FRESH alone."""
    before, now = config_of(other or head), config_of(head)
    old, new = tree_of(OLD), tree_of(codes)
    source = numpy_params(before, old)
    fresh = jax.tree.map(lambda x: np.full_like(x, FRESH), numpy_params(now, new))
    heads = (before.model.head, now.model.head)
    begin = warm_start((source, {}), old, new, heads=heads, rules=rules, told=told)
    return source, begin(fresh)


def expected_kernel(source, name, trees, *, columns, coarser):
    """By a plain loop over features, coarser nodes and classes."""
    level = int(name[5]) - 1
    old, new = trees
    rows = [old.codes[level - 1].tolist() if coarser else [], None]
    rows[1] = new.codes[level - 1].tolist() if coarser else []
    width = len(source) - len(rows[0])
    ends = [t.codes[level].tolist() for t in trees] if columns else None
    count = len(ends[1]) if columns else source.shape[1]
    found = np.full((width + len(rows[1]), count), FRESH, np.float32)
    for i in range(len(found)):
        code = rows[1][i - width] if i >= width else None
        if code is not None and code not in rows[0]:
            continue
        row = i if code is None else width + rows[0].index(code)
        for j in range(count):
            if not columns:
                found[i, j] = source[row, j]
            elif ends[1][j] in ends[0]:
                found[i, j] = source[row, ends[0].index(ends[1][j])]
    return found


@pytest.mark.parametrize("codes", ["renamed", "edited"])
@pytest.mark.parametrize("head", HEADS)
def test_classes_move_by_code_and_features_as_a_whole(codes, head):
    told = []
    source, started = start(CODES[codes], head, told=told.append)
    trees, config = (tree_of(OLD), tree_of(CODES[codes])), config_of(head).model.head
    for level in (1, 2, 3):
        fed = level > 1 and config.feed != "none"
        for name, columns in ((f"level{level}", True), (f"level{level}_layer", False)):
            if name not in source["head"]:
                continue
            np.testing.assert_array_equal(
                started["head"][name]["kernel"],
                expected_kernel(
                    source["head"][name]["kernel"],
                    name,
                    trees,
                    columns=columns,
                    coarser=fed and columns != bool(config.level_width),
                ),
                err_msg=name,
            )
        old, new = (t.codes[level - 1].tolist() for t in trees)
        bias = source["head"][f"level{level}"]["bias"]
        moved = [bias[old.index(c)] if c in old else FRESH for c in new]
        assert started["head"][f"level{level}"]["bias"].tolist() == moved
    names = parameter_names(started)
    for name, leaf in zip(names, jax.tree.leaves(started), strict=True):
        if "/level" not in name:
            assert (leaf != FRESH).any(), name
    leaves = np.concatenate([x.ravel() for x in jax.tree.leaves(started)])
    (moved,) = told
    assert moved.names == []
    assert moved.fresh == (leaves == FRESH).sum() > 0
    assert moved.loaded == (leaves != FRESH).sum()


@pytest.mark.parametrize("head", HEADS)
def test_on_the_same_tree_it_is_bitwise_the_source(head):
    rules, told = ((r"text/.*", "fresh"), *LOAD), []
    source, started = start(OLD, head, rules=rules, told=told.append)
    names = parameter_names(source)
    pairs = zip(jax.tree.leaves(source), jax.tree.leaves(started), strict=True)
    for name, (old, found) in zip(names, pairs, strict=True):
        assert found.dtype == old.dtype
        fresh = name.startswith("text/")
        assert np.array_equal(found, np.full_like(old, FRESH) if fresh else old), name
    (moved,) = told
    assert moved.names == [name for name in names if name.startswith("text/")]
    assert moved.names
    sizes = dict(zip(names, (x.size for x in jax.tree.leaves(source)), strict=True))
    assert moved.fresh == sum(sizes[name] for name in moved.names)
    assert moved.loaded == sum(sizes.values()) - moved.fresh


def test_a_level_that_the_source_lacks_stays_fresh_and_is_told():
    config, told = config_of("fed through layers"), []
    old, new = Taxonomy.from_paths([(c[:2], c[:4]) for c in OLD]), tree_of(OLD)
    source, fresh = numpy_params(config, old), numpy_params(config, new)
    heads = (config.model.head,) * 2
    begin = warm_start(
        (source, {}), old, new, heads=heads, rules=LOAD, told=told.append
    )
    started = begin(fresh)
    begin({})  # running statistics, of which there are none: nothing to tell
    (moved,) = told
    assert str(moved) == (
        f"{moved.loaded:,} parameters loaded, {moved.fresh:,} fresh; as a whole:"
        " head/level3/bias, head/level3/kernel, head/level3_layer/bias,"
        " head/level3_layer/kernel and 2 more"
    )
    assert moved.names == [
        *("head/level3/bias", "head/level3/kernel"),
        *("head/level3_layer/bias", "head/level3_layer/kernel"),
        *("head/level3_layer_norm/bias", "head/level3_layer_norm/scale"),
    ]
    for name, tree in (("level1", source), ("level2", source), ("level3", fresh)):
        np.testing.assert_array_equal(
            started["head"][name]["kernel"], tree["head"][name]["kernel"]
        )


def test_one_line_says_which_run_it_was(monkeypatch, caplog):
    config, tree = config_of("fed"), tree_of(OLD)
    config.init_from, config.init_rules = "runs/goods", LOAD
    params = numpy_params(config, tree)
    run = SimpleNamespace(params=params, stats={}, tree=tree, config=config, step=1200)
    monkeypatch.setattr(tasks, "load_run", lambda path, **_: run)
    begin = tasks.source_parameters(config, tree)
    with caplog.at_level("INFO", "hsjax"):
        begin(params)
    (record,) = caplog.records
    size = sum(x.size for x in jax.tree.leaves(params))
    told = f"init_from runs/goods, step 1,200: {size:,} parameters loaded, 0 fresh"
    assert record.getMessage() == told


def test_running_statistics_move_by_the_rules_of_their_parameters():
    batch = {"model__head__norm": "batch", "model__head__level_width": 5}
    config, old = tiny_config(("title",), model__text__depth=0, **batch), tree_of(OLD)
    above = Taxonomy.from_paths([(c[:2], c[:4]) for c in OLD])
    (_, params, source, _), (model, _, _, _) = (
        tiny_model(config, tree) for tree in (above, old)
    )
    heads, rules = (config.model.head,) * 2, ((".*shared_norm/var", "fresh"), *LOAD)
    options, told = {"heads": heads, "rules": rules}, []
    begin = warm_start((params, source), above, old, told=told.append, **options)
    spec = tiny_spec(config, old)
    for ema in (0.0, 0.9):
        config.train.ema = ema
        state, _, _ = initial_state(
            config, model, spec, make_mesh(1, 1), steps=10, warm_start=begin
        )
        found = state.stats["head"]
        expected = jax.tree.map(np.asarray, source["head"])
        expected["shared_norm"]["var"] = np.ones(17, np.float32)
        fresh = {"mean": np.zeros(5, np.float32), "var": np.ones(5, np.float32)}
        assert bitwise_equal(found, expected | {"level3_layer_norm": fresh})
        assert (np.asarray(params["head"]["shared_norm"]["scale"]) != 1).all()
        assert bitwise_equal(
            state.params["head"]["shared_norm"], params["head"]["shared_norm"]
        )
        assert state.ema == () or bitwise_equal(state.ema, (state.params, state.stats))
        assert (state.ema == ()) == (ema == 0)
    assert len(told) == 2  # once in each turn: the statistics are not counted
    assert not any(name.endswith(("mean", "var")) for name in told[0].names)
    begin = warm_start((params, {}), above, old, heads=heads, rules=LOAD)
    with pytest.raises(ConfigError, match="no parameter 'head/level1_layer_norm/mean'"):
        begin(state.stats)


@pytest.mark.parametrize(
    ("head", "other"), [("fed", "not fed"), ("not fed", "fed"), ("fed", "no layer")]
)
def test_levels_that_read_something_else_are_refused(monkeypatch, head, other):
    # layers as wide as the features: no shape would tell
    wide = {"model__head__level_width": 17, "model__head__feed": "none"}
    monkeypatch.setitem(HEADS, "no layer", wide)
    with pytest.raises(ConfigError, match=r"model\.head\.feed or model\.head\.level_w"):
        start(CODES["renamed"], head, other=other)
    rules = (("head/level.*", "fresh"), *LOAD)
    start(CODES["renamed"], head, other=other, rules=rules)


def test_what_does_not_fit_is_named():
    tree, config = tree_of(OLD), config_of("fed through layers")
    params, heads = numpy_params(config, tree), (config.model.head,) * 2

    def begin(fresh, rules=LOAD):
        return warm_start((params, {}), tree, tree, heads=heads, rules=rules)(fresh)

    shared = params["head"]["shared"]["kernel"]
    wider = {"shared": {"kernel": np.zeros((len(shared), 9)), "bias": np.zeros(9)}}
    with pytest.raises(ConfigError, match=r"head/shared/bias is \(17,\) in init_from"):
        begin({**params, "head": {**params["head"], **wider}})
    for shape in ((17, 1), (20, 5)):  # would be stretched, or does not fit
        layer = {"level1_layer": {"kernel": np.zeros(shape, np.float32)}}
        with pytest.raises(ConfigError, match=r"head/level1_layer/kernel is \(17, 5\)"):
            begin({"head": layer})
    with pytest.raises(ConfigError, match="init_from has no parameter 'gate'"):
        begin({**params, "gate": np.zeros(3)})
    with pytest.raises(ConfigError, match="init_rules: no rule covers .* 'fusion/"):
        begin(params, rules=(("text.*", "load"),))


def test_no_buffer_is_given_away_twice():
    """A step overwrites its state: what was loaded must not be shared inside it."""
    config = tiny_config(("title",), objective__contrastive=0.0, train__ema=0.9)
    tree = ragged_tree(0)
    spec = tiny_spec(config, tree)
    model = build_model(config, spec, tree, vocab_size=VOCAB)

    def aligned(fresh):
        """On a CPU such memory is taken over as it is, not copied."""
        return jax.tree.map(aligned_copy, fresh)

    mesh = make_mesh(1, 1)
    state, _, _ = initial_state(config, model, spec, mesh, steps=3, warm_start=aligned)
    places = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
    assert len(places) == len(set(places))
    assert bitwise_equal(state.ema, (state.params, state.stats))


def aligned_copy(x, to=64):
    x = np.asarray(x)
    room = np.zeros(x.nbytes + to, np.uint8)
    first = -room.ctypes.data % to
    found = room[first : first + x.nbytes].view(x.dtype).reshape(x.shape)
    found[...] = x
    return found
