"""How layers are computed changes neither values, gradients nor parameters."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import bitwise_equal, drawn, largest_difference, ragged_tree, tiny_config
from tiny import tiny_model as small_model

from hsjax.models import attention
from hsjax.models.attention import attend, implementation
from hsjax.models.depth import REMATS, Execution
from hsjax.models.text import TextEncoder
from hsjax.models.transformer import dropped
from hsjax.models.vit import VisionTransformer
from hsjax.settings.choices import check_choices
from hsjax.train.devices import training_mesh
from hsjax.train.objective import make_objective
from hsjax.train.workdir import ConfigError

FLOAT = jnp.dtype(jnp.float32)
TEXT = (19, 7, 14, 3, 2, 13, 0.3)  # vocabulary, length, width, depth, heads, MLP, drop
OTHER = [(scan, remat) for scan in (False, True) for remat in REMATS][1:]


def text(how, pre_norm=True, **options):
    return TextEncoder(*TEXT, "mean", pre_norm, FLOAT, how=how, **options)


TOWERS = {
    "pre-norm": text,
    "post-norm": lambda how: text(how, pre_norm=False),
    "causal": lambda how: text(how, causal=True),
    "shared": lambda how: text(how, shared=2),
    "vit": lambda how: VisionTransformer(
        *(4, 14, 3, 2, 13, 0.3, "cls", FLOAT), layer_scale=0.5, how=how
    ),
}


def given(name):
    rng = np.random.default_rng(0)
    if name == "vit":
        picture = rng.normal(size=(3, 8, 12, 3)).astype(np.float32)
        return jnp.asarray(picture), jnp.ones(3)
    mask = jnp.asarray(np.arange(7)[None] < np.array([[7], [3], [1]]))
    return jnp.asarray(rng.integers(1, 19, (3, 7))), mask


def studied(name, how):
    """(parameters, their gradient and what is said, in training with dropout)."""
    module, rows = TOWERS[name](how), given(name)
    shapes = jax.eval_shape(
        lambda key: module.init(key, *rows, training=False), jax.random.key(0)
    )
    variables = drawn(shapes)

    def loss(variables):
        rngs = {"dropout": jax.random.key(3)}
        found = module.apply(variables, *rows, training=True, rngs=rngs)
        return jnp.square(found).sum(), found

    return variables, jax.jit(jax.grad(loss, has_aux=True))(variables)


@pytest.fixture(scope="module")
def plain():
    return {name: studied(name, Execution()) for name in TOWERS}


@pytest.mark.parametrize(("scan", "remat"), OTHER)
@pytest.mark.parametrize("name", TOWERS)
def test_scan_and_remat_change_nothing(plain, name, scan, remat):
    variables, found = studied(name, Execution("xla", scan, remat))
    assert bitwise_equal(variables, plain[name][0])  # the same names, too
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(found))
    assert largest_difference(found, plain[name][1]) < 2e-6 * max(1.0, largest)


def test_dropout_draws_anew_in_every_layer():
    """Were draws shared by layers, a scan could not differ from one that is wrong."""
    scanned = TOWERS["pre-norm"](Execution(scan=True))
    rows = given("pre-norm")
    variables = scanned.init(jax.random.key(0), *rows, training=False)
    kept = jax.make_jaxpr(
        lambda key: scanned.apply(variables, *rows, True, rngs={"dropout": key})
    )(jax.random.key(0))
    (loop,) = [e for e in kept.jaxpr.eqns if e.primitive.name == "scan"]
    stacked = [v.aval for v in loop.invars[loop.params["num_consts"] + 1 :]]
    assert any(jnp.issubdtype(a.dtype, jax.dtypes.prng_key) for a in stacked)


@pytest.mark.parametrize("width", [64, 63])
def test_dropped(width):
    x = jnp.ones((200, width))
    found = dropped(x, rate=0.3, key=jax.random.key(0))
    kept = np.asarray(found != 0)
    assert set(np.unique(found)) == {0, np.float32(1 / (1 - 19661 / 2**16))}
    # of each entry, of neighbours, and of the two that share a word
    for a, b in ((kept, kept), (kept[:, 1:], kept[:, :-1])):
        assert abs(a.mean() - 0.7) < 0.02
        assert a is b or abs((a & b).mean() - 0.49) < 0.02
    first, second = kept[:, : width // 2], kept[:, -(width // 2) :]
    assert abs((first & second).mean() - 0.49) < 0.02
    assert abs(float(found.mean()) - 1) < 0.03
    assert dropped(x, rate=0.3, key=None) is x
    assert dropped(x, rate=0.0, key=jax.random.key(0)) is x


def test_a_scan_compiles_one_layer_and_a_remat_keeps_less():
    def text_of(how):
        module, rows = TOWERS["pre-norm"](how), given("pre-norm")
        variables = module.init(jax.random.key(0), *rows, training=False)
        loss = lambda v: module.apply(v, *rows, training=False).sum()  # noqa: E731
        return jax.jit(jax.grad(loss)).lower(variables).as_text()

    products = lambda how: text_of(how).count("stablehlo.dot_general")  # noqa: E731
    plain = products(Execution())
    assert products(Execution(scan=True)) * 3 == plain
    assert products(Execution(remat="full")) > products(Execution(remat="dots"))
    assert products(Execution(remat="dots")) > plain  # attention's own


def test_an_unknown_remat_or_attention_is_refused():
    with pytest.raises(ValueError, match="remat is 'some'; known: none, dots, full"):
        studied("vit", Execution(remat="some"))
    with pytest.raises(ValueError, match="attention is 'flash'; known: auto, xla"):
        studied("vit", Execution(attention="flash"))


def on_gpu(monkeypatch, capability):
    """As if there were one."""
    device = SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])


@pytest.mark.parametrize(
    ("asked", "dtype", "width", "length", "masked", "expected"),
    [
        ("auto", "bfloat16", 64, 64, True, "cudnn"),
        ("auto", "bfloat16", 64, 197, False, "cudnn"),
        ("auto", "bfloat16", 64, 33, True, "xla"),
        ("auto", "float32", 64, 64, True, "xla"),
        ("auto", "bfloat16", 12, 64, True, "xla"),
        ("auto", "bfloat16", 256, 64, False, "xla"),
        ("xla", "bfloat16", 64, 64, False, "xla"),
        ("cudnn", "bfloat16", 12, 33, True, "cudnn"),  # it may say why not
    ],
)
def test_which_attention(monkeypatch, asked, dtype, width, length, masked, expected):
    x = jnp.zeros((2, length, 3, width), dtype)
    assert implementation(asked, x, x, masked=masked) == "xla"  # there is no GPU
    on_gpu(monkeypatch, "7.5")
    assert implementation(asked, x, x, masked=masked) == (
        "cudnn" if asked == "cudnn" else "xla"
    )
    on_gpu(monkeypatch, "9.0")
    assert implementation(asked, x, x, masked=masked) == expected


def test_cudnn_is_given_a_mask_of_every_query(monkeypatch):
    """Its kernels take (B, 1, Q, T); what they make of it is only seen on a GPU."""
    seen = {}

    def kernel(q, k, v, *, mask, is_causal, implementation):
        seen.update(mask=mask, by=implementation)
        return q

    on_gpu(monkeypatch, "8.0")
    monkeypatch.setattr(attention.jax.nn, "dot_product_attention", kernel)
    x = jnp.zeros((2, 4, 3, 8), jnp.bfloat16)
    mask = jnp.asarray([[True, True, False, False], [True] * 4])
    attend(x, x, x, mask)
    assert seen["by"] == "cudnn"
    expected = np.broadcast_to(np.asarray(mask)[:, None, None], (2, 1, 4, 4))
    np.testing.assert_array_equal(seen["mask"], expected)


def test_cudnn_is_of_half_precision_and_of_a_gpu():
    config = tiny_config(model__attention="cudnn")
    with pytest.raises(ConfigError, match="set model.dtype=bfloat16"):
        check_choices(config)
    with pytest.raises(ConfigError, match="jax computes on cpu; leave it at auto"):
        training_mesh(config)


def test_a_whole_model_is_the_same(monkeypatch):
    tree = ragged_tree(0)
    given = {"model__image__family": "vit", "model__image__patch": 4}
    given |= {"model__image__width": 14, "model__image__heads": 2}
    given |= {"model__text__depth": 2, "model__image__mlp": 13}

    def loss_and_gradient(**changes):
        config = tiny_config(**given, **changes)
        model, params, stats, batch = small_model(config, tree, image=(1, 12, 8))
        batch = jax.tree.map(jnp.asarray, batch)
        objective = make_objective(config.objective, tree, ("title", "image"))

        def loss(params):
            key = jax.random.key(1)
            outputs, _ = model.apply(params, stats, batch, dropout_key=key)
            return objective(outputs, batch)[0]

        return jax.jit(jax.value_and_grad(loss))(params)

    plain = loss_and_gradient()
    other = loss_and_gradient(model__scan=True, model__remat="dots")
    assert largest_difference(plain, other) < 1e-5


SUMS = ("exp", "log", "log1p", "rsqrt", "logistic", "cumsum", "div", "sqrt")


def equations(jaxpr):
    """All of a program, those of inner ones, too."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.tree.leaves(
            tuple(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_in_bfloat16_all_but_products_is_float32(family):
    """Softmax, norms and losses: what is summed or raised; parameters, too."""
    tree = ragged_tree(0)
    config = tiny_config(
        model__dtype="bfloat16",
        model__image__family=family,
        model__image__patch=4,
        model__image__heads=2,
        model__image__width=14,
    )
    model, params, stats, batch = small_model(config, tree, image=(1, 12, 8))
    batch = jax.tree.map(jnp.asarray, batch)
    objective = make_objective(config.objective, tree, ("title", "image"))

    def loss(params):
        key = jax.random.key(1)
        outputs, _ = model.apply(params, stats, batch, dropout_key=key)
        return objective(outputs, batch)[0], outputs

    with jax.numpy_dtype_promotion("standard"):
        program = jax.make_jaxpr(loss)(params)
        grads, outputs = jax.eval_shape(jax.grad(loss, has_aux=True), params)
    found = [*equations(program.jaxpr)]
    halves = [e for e in found if any(_half(v) for v in e.invars)]
    names = {e.primitive.name for e in halves}
    assert {"dot_general"} <= names
    raised = {e.primitive.name for e in halves if e.primitive.name in SUMS}
    assert raised <= {"div"}  # of dropout
    assert not names & {"reduce_sum", "reduce_max"}
    products = [e for e in found if e.primitive.name == "dot_general"]
    wide = [e for e in products if not any(_half(v) for v in e.invars)]
    assert len(wide) < len(products) / 2
    for leaf in jax.tree.leaves((params, grads, outputs)):
        assert leaf.dtype == jnp.float32


def _half(variable) -> bool:
    return getattr(variable.aval, "dtype", None) == jnp.bfloat16
