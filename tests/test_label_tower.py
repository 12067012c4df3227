"""Codes as text: classes without an example, their features, and a run with them."""

import csv
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from encoders import extraction, path_of
from runs import (
    TEXT,
    metric_lines,
    report,
    run_config,
    sentence,
    train_run,
)
from test_model_laws import mixed
from tiny import (
    VOCAB,
    bitwise_equal,
    drawn,
    ragged_tree,
    random_logits,
    tiny_batch,
    tiny_config,
    tiny_spec,
)

import hsjax
from hsjax.batch import BatchSpec
from hsjax.data.features import text_key
from hsjax.data.prepare import read_catalogue
from hsjax.data.records import CatalogueError
from hsjax.data.store import FeatureStore
from hsjax.data.synthetic import names as synthetic_names
from hsjax.decodes import exact_path
from hsjax.features.labels import (
    FILE,
    keep_labels,
    kept_labels,
    label_features,
    label_texts,
    stored_labels,
)
from hsjax.hierarchy import leaf_log_probs, leaf_paths, sibling_log_probs
from hsjax.inference.predict import load_run
from hsjax.losses import hierarchical_cross_entropy, weighted_mean
from hsjax.models.build import build_model
from hsjax.models.head import leaf_ids
from hsjax.models.label_tower import START, LabelFeatures, among_seen
from hsjax.taxonomy import Taxonomy

TREE, ROWS, D = ragged_tree(0), 6, 13
HEADS = [(k, m) for k in ("hierarchical", "flat") for m in ("tower", "both")]
every_head = pytest.mark.parametrize(("kind", "mix"), HEADS)


def features_of(tree=TREE, seen=0.7):
    rng = np.random.default_rng(3)
    return LabelFeatures(
        tuple(rng.normal(size=(c, D)).astype(np.float32) for c in tree.sizes),
        tuple(rng.random(c) < seen for c in tree.sizes),
    )


@functools.cache
def world(kind, mix, seen=0.7):
    """(jitted apply, model, params, batch, features)."""
    config = tiny_config(
        ("title",),
        model__head__kind=kind,
        model__head__labels="somewhere",
        model__head__label_mix=mix,
        model__head__label_width=5,
    )
    spec, features = tiny_spec(config, TREE), features_of(seen=seen)
    model = build_model(config, spec, TREE, vocab_size=VOCAB, labels=features)
    batch = {k: jnp.asarray(v) for k, v in tiny_batch(spec, TREE, ROWS).items()}
    params, _ = jax.eval_shape(model.init, jax.random.key(0), batch)
    return jax.jit(model.apply), model, drawn(params), batch, features


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def cosines(params, shared, vectors):
    """By definition: scale * cosine of both projections."""

    def projected(x, name):
        return unit(
            x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])
        )

    scale = np.exp(min(float(params["log_scale"]), np.log(100)))
    return scale * projected(shared, "product") @ projected(vectors, "label").T


def shared_layer(params, fused):
    p = jax.tree.map(np.asarray, params["head"])
    x = np.maximum(fused @ p["shared"]["kernel"] + p["shared"]["bias"], 0)
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
    return x * p["shared_norm"]["scale"] + p["shared_norm"]["bias"]


@pytest.mark.parametrize("mix", ["tower", "both"])
def test_logits_are_scaled_cosines_and_centred_vectors(mix):
    apply, _, params, batch, features = world("hierarchical", mix)
    outputs, _ = apply(params, {}, batch)
    shared = shared_layer(params, np.asarray(outputs.fused))
    own = set(params["head"]) - {"shared", "shared_norm"}
    levels = range(1, TREE.num_levels + 1)
    towers = {f"level{k}_labels" for k in levels}
    assert own == towers | ({f"level{k}" for k in levels} if mix == "both" else set())
    tower = params["head"]["level1_labels"]
    expected = cosines(tower, shared, features.vectors[0])
    if mix == "both":
        p = jax.tree.map(np.asarray, params["head"]["level1"])
        learned, seen = shared @ p["kernel"] + p["bias"], features.seen[0]
        assert 0 < seen.sum() < len(seen)
        learned -= learned[:, seen].mean(axis=1, keepdims=True)
        expected = expected + np.where(seen, learned, 0)
    order = TREE.layout[0].ids
    np.testing.assert_allclose(
        outputs.logits[0], expected[:, order], rtol=1e-4, atol=1e-4
    )


def test_learned_logits_are_centred_among_seen_siblings_only():
    rng = np.random.default_rng(0)
    for level, seen in enumerate(features_of().seen):
        layout = TREE.layout[level]
        x = jnp.asarray(rng.normal(size=(ROWS, len(seen))), jnp.float32)
        spans = [(b.start, b.stop, b.fan_out) for b in layout.blocks]
        found = np.asarray(among_seen(x, seen[layout.ids], spans))[:, layout.slots]
        plain = np.asarray(x)[:, layout.slots]
        for parent in np.unique(TREE.parents[level]):
            siblings = np.flatnonzero(TREE.parents[level] == parent)
            known = siblings[seen[siblings]]
            assert (found[:, siblings[~seen[siblings]]] == 0).all()
            if len(known):
                mean = plain[:, known].mean(axis=1, keepdims=True)
                np.testing.assert_allclose(
                    found[:, known], plain[:, known] - mean, atol=1e-6
                )


def test_where_all_is_seen_probabilities_are_those_of_the_plain_sum():
    levels, shifted = random_logits(TREE, ROWS, seed=1), []
    for x, layout in zip(levels, TREE.layout, strict=True):
        spans = [(b.start, b.stop, b.fan_out) for b in layout.blocks]
        shifted.append(among_seen(x, np.ones(x.shape[1], bool), spans))
    plain, found = (sibling_log_probs(x, TREE) for x in (levels, shifted))
    for a, b in zip(plain, found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@every_head
def test_laws_of_a_head_with_labels(kind, mix):
    apply, model, params, batch, _ = world(kind, mix)
    outputs, _ = apply(params, {}, batch)
    config = tiny_config(("title",))
    other = tiny_batch(tiny_spec(config, TREE), TREE, ROWS, seed=9)
    again, _ = apply(params, {}, mixed(batch, other, 2))
    for a, b, c in zip(outputs.logits, again.logits, TREE.sizes, strict=True):
        assert a.shape == (ROWS, c)
        assert a.dtype == jnp.float32
        assert bitwise_equal(a[:2], b[:2])
        assert np.isfinite(a).all()

    def loss(params, key):
        outputs, _ = model.apply(params, {}, batch, dropout_key=key)
        pair = hierarchical_cross_entropy(
            outputs.logits,
            batch["labels"],
            TREE,
            weight=batch["weight"],
        )
        return weighted_mean(*pair)

    gradient = jax.jit(jax.grad(loss))
    towers = [n for n in params["head"] if n.endswith("_labels")]
    for key in map(jax.random.key, range(2)):
        found = gradient(params, key)["head"]
        for name in towers:
            for leaf in jax.tree.leaves(found[name]):
                assert np.isfinite(leaf).all()
                assert np.any(leaf)
    if mix == "both":  # rows that learn from texts alone differ from key to key
        keys = [jax.random.key(i) for i in range(4)]
        train = jax.jit(lambda p, k: model.apply(p, {}, batch, dropout_key=k)[0])
        answers = [train(params, k).logits for k in keys]
        assert not all(bitwise_equal(answers[0], a) for a in answers[1:])


@every_head
def test_a_class_without_examples_is_never_told_no(kind, mix):
    """In training nothing depends on unseen classes; no vector of theirs learns."""
    _, model, params, batch, features = world(kind, mix)
    own = np.stack([features.seen[k][i] for k, i in enumerate(batch["labels"].T)])
    batch = batch | {"labels": jnp.where(jnp.asarray(own).T, batch["labels"], -1)}

    def loss(params):
        key = jax.random.key(0)
        outputs, _ = model.apply(params, {}, batch, dropout_key=key)
        pair = hierarchical_cross_entropy(
            outputs.logits,
            batch["labels"],
            TREE,
            weight=batch["weight"],
        )
        return weighted_mean(*pair)

    found = jax.jit(jax.grad(loss))(params)["head"]
    learned = [n for n in found if n == "leaves" or n in ("level1", "level2", "level3")]
    assert bool(learned) == (mix == "both")
    for name in learned:
        if name == "leaves":
            _, seen = features.leaves(TREE)
        else:
            seen = features.seen[int(name[5:]) - 1]
        assert (np.asarray(found[name]["kernel"])[:, ~seen] == 0).all()
        assert np.any(np.asarray(found[name]["kernel"])[:, seen])


def test_rows_that_end_above_leaves_without_examples_have_a_place():
    tree = Taxonomy.from_paths([("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "c1")])
    seen = np.array([True, True, False]), np.array([False, False, True, False])
    features = LabelFeatures(features_of(tree).vectors, seen)
    assert features.leaves(tree)[1].tolist() == [True, True, True, False]


def test_what_one_encoder_has_read_matches_before_anything_is_learnt():
    """Projections as wide as a feature start as they are, others at random."""
    joint = {"model__joint_width": D, "model__joint_start": "identity"}
    head = {"width": 0, "kind": "flat", "labels": "somewhere", "label_width": D}
    head = {f"model__head__{k}": v for k, v in head.items()}
    raw = {"model__fusion__norm": "raw"}
    config = tiny_config(("title",), model__text__width=D, **joint, **head, **raw)
    config.model.text.heads = 1
    features = features_of(seen=1.0)
    spec = tiny_spec(config, TREE)
    model = build_model(config, spec, TREE, vocab_size=VOCAB, labels=features)
    batch = {k: jnp.asarray(v) for k, v in tiny_batch(spec, TREE, ROWS).items()}
    params, _ = model.init(jax.random.key(0), batch)
    assert bitwise_equal(params["text_joint"]["projection"]["kernel"], jnp.eye(D))
    tower = params["head"]["leaves_labels"]
    for side in ("product", "label"):
        assert bitwise_equal(tower[side]["kernel"], jnp.eye(D))
    outputs, _ = jax.jit(model.apply)(params, {}, batch)
    vectors, _ = features.leaves(TREE)
    wanted = START * unit(np.asarray(outputs.fused)) @ unit(vectors).T
    found = leaf_log_probs(outputs.logits, TREE)
    wanted = jax.nn.log_softmax(wanted)[:, leaf_ids(TREE)]
    assert np.allclose(found, wanted, atol=1e-4)
    config.model.joint_start = "random"
    model = build_model(config, spec, TREE, vocab_size=VOCAB, labels=features)
    other, _ = model.init(jax.random.key(0), batch)
    assert not bitwise_equal(other["text_joint"]["projection"]["kernel"], jnp.eye(D))


def test_features_and_a_head_that_does_not_ask_for_them_are_a_mistake():
    config = tiny_config(("title",))
    spec = tiny_spec(config, TREE)
    with pytest.raises(ValueError, match="label features"):
        build_model(config, spec, TREE, vocab_size=VOCAB, labels=features_of())
    config.model.head.labels = "somewhere"
    with pytest.raises(ValueError, match="label features"):
        build_model(config, spec, TREE, vocab_size=VOCAB)


def test_texts_are_the_names_down_to_a_node():
    names = {"42": "Leather", "4202": "Bags", "420221": "Handbags", "61": "Clothes"}
    tree = Taxonomy.from_paths(
        [("42", "4202", "420221"), ("42", "4202"), ("61",)], names=names
    )
    found = dict(zip(tree.codes[2].tolist(), label_texts(tree)[2], strict=True))
    assert found["420221"] == "Leather > Bags > Handbags"
    (stop,) = found.keys() - {"420221"}
    assert found[stop] == "Leather > Bags" == label_texts(tree)[1][0]
    with pytest.raises(CatalogueError, match=r"no names.*taxonomy\.names"):
        label_texts(Taxonomy.from_paths([("42", "4202"), ("61", "6109")]))
    paths = Taxonomy.from_paths([("Men", "Men / Shoes")], separator=" / ")
    assert label_texts(paths) == [["Men"], ["Men / Shoes"]]


# a run: the shop's products, whose tree comes from its training rows or from a file
def labelled(shop, bert, **changes):
    return extraction(shop, bert, "labels", stored="float32", **changes)


def named(config, names):
    config = config.unlock()
    config.taxonomy.names = str(names)
    return config.lock()


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Names of the synthetic catalogue's codes."""
    path = tmp_path_factory.mktemp("names") / "names.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("code", "name"), *synthetic_names().items()])
    return path


@pytest.fixture(scope="module")
def labels(tmp_path_factory, shop, bert, names):
    folder = tmp_path_factory.mktemp("labels") / "store"
    train_run(named(labelled(shop, bert), names), folder)
    return folder


def on_labels(shop, labels, names, **changes):
    small = {**path_of(shop), **TEXT, "model.head.labels": str(labels)}
    return run_config(
        {
            **small,
            "taxonomy.names": str(names),
            "train.steps": 4,
            "train.eval_every": 2,
        },
        **changes,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, shop, labels, names):
    workdir = tmp_path_factory.mktemp("run") / "run"
    train_run(on_labels(shop, labels, names), workdir)
    return workdir


def test_a_class_stands_where_its_text_and_its_rows_are(shop, bert, labels, names):
    """unit(text) + unit(mean of unit rows), by a loop; its text alone without rows."""
    folder = labels.with_name("rows")
    train_run(extraction(shop, bert, "title", stored="float32"), folder)
    changes = {"data__features__title": str(folder), "data__train_share": 0.5}
    config = on_labels(shop, labels, names, model__head__label_rows="title", **changes)
    catalogue = read_catalogue(config)
    rows = [i for i in catalogue.rows("train") if catalogue.records[i].texts["title"]]
    tree, of = catalogue.tree, [catalogue.records[i] for i in rows]
    found = label_features(config, tree, of, catalogue.labels[rows])
    texts = stored_labels(labels, tree, catalogue.labels[rows])
    store, keys = FeatureStore(folder), [text_key(r.texts["title"]) for r in of]
    vectors = unit(store.take(store.rows(keys)).astype(np.float32))
    seen = 0
    for level in range(tree.num_levels):
        for node in range(tree.sizes[level]):
            wanted = unit(texts.vectors[level][[node]])[0]
            mine = vectors[catalogue.labels[rows][:, level] == node]
            if len(mine):
                wanted = wanted + unit(mine.sum(axis=0, keepdims=True))[0]
                seen += 1
            assert np.allclose(found.vectors[level][node], wanted, atol=1e-5)
    assert seen > tree.num_levels
    assert all(map(np.array_equal, found.seen, texts.seen))
    raw = on_labels(shop, labels, names, model__head__label_rows="title")
    with pytest.raises(CatalogueError, match=r"label_rows=title.*cached"):
        label_features(raw, tree, of, catalogue.labels[rows])


def test_a_run_keeps_its_label_features(run, labels, tmp_path):
    loaded, store = load_run(run), FeatureStore(labels)
    kept = kept_labels(run, loaded.tree)
    for level, texts in enumerate(label_texts(loaded.tree)):
        rows = store.rows([text_key(t) for t in texts])
        assert (rows >= 0).all()
        np.testing.assert_array_equal(kept.vectors[level], store.take(rows))
        assert kept.seen[level].all()  # the tree is that of the training rows
    assert report(run)["metrics"]["hierarchical/f1"] > 0
    hidden = labels.with_name("hidden")
    labels.rename(hidden)  # the run needs it no longer
    try:
        products = [{"title": "leather handbag", "brand": ""}]
        again = hsjax.load(run)
        found = again.predict(again.records(products))
        assert np.isfinite(found.log_prob).all()
        shutil.copytree(run, tmp_path / "run")
        (tmp_path / "run" / FILE).write_bytes(b"half a fi")
        with pytest.raises(CatalogueError, match="cannot be read"):
            hsjax.load(tmp_path / "run")
        (tmp_path / "run" / FILE).unlink()
        with pytest.raises(CatalogueError, match="bring back"):
            hsjax.load(tmp_path / "run")
    finally:
        hidden.rename(labels)


def test_a_longer_run_goes_on_without_the_store(run, shop, labels, names, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    hidden = labels.with_name("hidden")
    labels.rename(hidden)
    try:
        longer = on_labels(shop, labels, names, train__steps=6)
        train_run(longer, tmp_path / "run")
    finally:
        hidden.rename(labels)
    assert metric_lines(tmp_path / "run")[-1]["step"] == 6


@pytest.mark.slow
def test_a_tree_from_a_file_has_classes_without_products(
    shop, bert, names, tmp_path, labels
):
    """A code that no row has is in the tree, has features, and can be answered."""
    nomenclature = tmp_path / "tree.csv"
    nomenclature.write_text(names.read_text() + "970121,Paintings\n")
    config = labelled(shop, bert).unlock()
    config.data.path = "unread.parquet"  # the file of the tree says all
    config.taxonomy.path = str(nomenclature)
    before = len(FeatureStore(labels))
    shutil.copytree(labels, tmp_path / "labels")
    train_run(config.lock(), tmp_path / "labels")
    assert len(FeatureStore(tmp_path / "labels")) > before
    changes = {"taxonomy__path": str(nomenclature), "model__head__kind": "flat"}
    asked = on_labels(shop, labels, names, **changes)
    told = sentence(asked, tmp_path / "lacking")
    assert "lacks" in told
    assert "Paintings" in told or "97" in told
    assert "extract.modality=labels" in told
    config = on_labels(shop, tmp_path / "labels", names, **changes)
    train_run(config, tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    level = loaded.tree.codes[2].tolist().index("970121")
    assert not kept_labels(tmp_path / "run", loaded.tree).seen[2][level]
    found = loaded.predict(loaded.records([{"title": "x", "brand": ""}]))
    assert np.isfinite(found.log_prob).all()


def test_mistakes_are_told_in_words(shop, bert, labels, names, tmp_path):
    config = on_labels(shop, tmp_path / "nowhere", names)
    assert "holds no features" in sentence(config, tmp_path / "a")
    config = labelled(shop, bert, states=True)
    assert "extract.pca and extract.states" in sentence(config, tmp_path / "b")
    config = labelled(shop, bert)  # codes without names
    assert "have no names" in sentence(config, tmp_path / "c")
    config = run_config({"model.head.label_mix": "towr"})
    assert "Did you mean 'tower'?" in sentence(config, tmp_path / "d")


def test_a_copy_of_other_features_is_refused(tmp_path, labels):
    features = features_of()
    keep_labels(features, labels, TREE, tmp_path)
    assert bitwise_equal(kept_labels(tmp_path, TREE), features)
    with pytest.raises(CatalogueError, match="another tree"):
        kept_labels(tmp_path, ragged_tree(1))
    keep_labels(None, "", TREE, tmp_path)
    assert not (tmp_path / FILE).exists()
    with pytest.raises(CatalogueError, match="lacks"):
        stored_labels(labels, TREE, leaf_paths(TREE))


def _trained(tree, features, meaning, held, mix, kind, steps=150, rows=64):
    """Shares of products that get their own leaf: of other leaves, of held-out ones."""
    config = tiny_config(("title",), model__head__label_mix=mix)
    config.model.head.update({"kind": kind, "labels": "there", "label_width": D})
    config.model.head.width, config.model.joint_width = 0, 32
    spec = BatchSpec((), None, 2, (("title", (D,)),))
    model = build_model(config, spec, tree, vocab_size=0, labels=features)
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(D, D)).astype(np.float32) / np.sqrt(D)

    def batch_of(leaves, count):
        leaf = rng.choice(leaves, count)
        batch = spec.padding(count)
        noise = rng.normal(0, 0.2, (count, D)).astype(np.float32)
        batch["title_features"] = (meaning[leaf] + noise) @ mixing
        batch["has_title"][:] = True
        labels = np.stack([tree.parents[1][leaf], leaf], axis=1)
        batch |= {"labels": labels.astype(np.int32), "weight": np.ones(count, "f4")}
        return {k: jnp.asarray(v) for k, v in batch.items()}

    optimizer = optax.adam(0.01)
    batches = [batch_of(np.flatnonzero(~held), rows) for _ in range(steps)]

    def step(carry, batch):
        params, state, key = carry
        key, drop = jax.random.split(key)

        def loss(params):
            outputs, _ = model.apply(params, {}, batch, dropout_key=drop)
            pair = hierarchical_cross_entropy(
                outputs.logits, batch["labels"], tree, weight=batch["weight"]
            )
            return weighted_mean(*pair)

        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state, key), None

    params, _ = model.init(jax.random.key(0), batches[0])
    carry = params, optimizer.init(params), jax.random.key(1)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batches)
    run = jax.jit(lambda carry, xs: jax.lax.scan(step, carry, xs)[0])
    params, _, _ = run(carry, stacked)
    apply, hits = jax.jit(model.apply), []
    for who in (~held, held):
        asked = batch_of(np.flatnonzero(who), 400)
        found = exact_path(apply(params, {}, asked)[0].logits, tree)
        hits.append(float((found[:, 1] == asked["labels"][:, 1]).mean()))
    return hits


@pytest.mark.parametrize(("kind", "mix"), [HEADS[0], *HEADS[1::2]])
def test_leaves_without_examples_are_answered_by_their_text(kind, mix):
    """One leaf of each parent has no products: a plain classifier never answers it."""
    rng = np.random.default_rng(0)
    tree = Taxonomy.from_paths(
        [(f"{i}", f"{i}{j}") for i in range(8) for j in range(6)]
    )
    coarse = rng.normal(size=(8, D)).astype(np.float32)
    own = 0.8 * rng.normal(size=(48, D)).astype(np.float32)
    meaning, held = np.repeat(coarse, 6, axis=0) + own, np.arange(48) % 6 == 5
    features = LabelFeatures((coarse, meaning), (np.ones(8, bool), ~held))
    seen, unseen = _trained(tree, features, meaning, held, mix, kind)
    assert seen > 0.95
    assert unseen > 0.6
    if kind == "flat":  # as rivals in training they would have lost
        rivals = features._replace(seen=(features.seen[0], np.ones(48, bool)))
        assert _trained(tree, rivals, meaning, held, mix, kind)[1] < 0.2
