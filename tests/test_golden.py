"""What every config resolves to, and the parameters of its model, as committed text.

A change of either is a decision: write the files again and look at the difference.
"""

import ast
import importlib
import os
import re
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from clu import parameter_overview

from configs import base
from hsjax.batch import IMAGE
from hsjax.data.features import stores_of
from hsjax.data.prepare import batch_spec
from hsjax.data.store import start_store
from hsjax.models.build import build_model
from hsjax.models.label_tower import LabelFeatures
from hsjax.settings.choices import check_choices
from hsjax.settings.options import CHOICES
from hsjax.taxonomy import Taxonomy
from hsjax.train.objective import check_objective
from hsjax.train.workdir import flatten

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
WRITE = "HSJAX_WRITE_GOLDEN"
COMMAND = f"{WRITE}=1 python -m pytest tests/test_golden.py"
FILES = sorted(p for p in (ROOT / "configs").rglob("*.py") if p.name != "__init__.py")
CONFIGS = {p.relative_to(ROOT / "configs").with_suffix("").as_posix(): p for p in FILES}

# 3 levels of 2, 3 and 5 nodes, one of them a STOP child: the head has these widths
TREE = Taxonomy.from_paths(
    [("A", "A > B", "A > B > C"), ("A", "A > B", "A > B > D"), ("A", "A > E")]
    + [("F", "F > G", "F > G > H"), ("F", "F > G", "F > G > I"), ("A",)],
    separator=" > ",
)
LABELS = LabelFeatures(  # of MiniLM
    tuple(np.ones((size, 384), np.float32) for size in TREE.sizes),
    tuple(np.ones(size, bool) for size in TREE.sizes),
)


def get_config(name):
    return importlib.import_module(f"configs.{name.replace('/', '.')}").get_config()


def resolved(name, config):
    """Every key of base; of other configs what differs from it."""
    start = flatten(base.get_config().to_dict())
    keys = flatten(config.to_dict())
    gone = [f"{key}: gone" for key in sorted(start.keys() - keys.keys())]
    shown = {k: v for k, v in keys.items() if name == "base" or start.get(k, ...) != v}
    return "\n".join([*(f"{key}: {shown[key]!r}" for key in sorted(shown)), *gone])


def parameters(config):
    """The table of names, shapes and dtypes; nothing is allocated."""
    config = config.copy_and_resolve_references()
    with tempfile.TemporaryDirectory() as folder:
        for modality in stores_of(config):  # of MiniLM and ResNet-50
            place, width = Path(folder) / modality, 2048 if modality == IMAGE else 384
            start_store(place, {"shape": [width]})
            config.data.features[modality] = str(place)
        spec = batch_spec(config, TREE)
    vocab_size = -(-config.data.text.vocab_size // 8) * 8
    labels = LABELS if config.model.head.labels else None
    model = build_model(config, spec, TREE, vocab_size=vocab_size, labels=labels)
    shapes, stats = jax.eval_shape(model.init, jax.random.key(0), spec.padding(2))
    tables = [t for t in (shapes, stats) if t]
    overview = parameter_overview.get_parameter_overview
    return "\n".join(overview(t, include_stats=False) for t in tables)


def text_of(name):
    config = get_config(name)
    return f"{resolved(name, config)}\n\n{parameters(config)}\n"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_what_was_agreed(name):
    path, text = GOLDEN / f"{name.replace('/', '_')}.txt", text_of(name)
    if os.environ.get(WRITE):
        path.write_text(text)
    assert path.exists(), f"{name} has no golden text; write it: {COMMAND}"
    assert text == path.read_text(), f"where this is intended: {COMMAND}"


def test_every_golden_text_has_a_config():
    names = {name.replace("/", "_") for name in CONFIGS}
    assert {p.stem for p in GOLDEN.glob("*.txt")} == names


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_can_be_run(name):
    config = get_config(name)
    check_choices(config)
    check_objective(config.objective, tuple(config.model.modalities))
    assert set(flatten(base.get_config().to_dict())) - set(
        flatten(config.to_dict())
    ) <= {
        "data.features",
        "data.text.streams.title",
        "data.text.lengths",
    }
    if name != "base":
        source = CONFIGS[name].read_text()
        module = ast.parse(source)
        assert ast.get_docstring(module)
        # the docstring may be as long as it likes: command, time, expected numbers
        code = source.splitlines()[module.body[0].end_lineno :]
        code = [line for line in code if line.strip()]
        assert len(code) <= 30, "an experiment is a short file"


def assigned():
    """(dotted key, comment of its line) of every assignment in base.py."""
    source = Path(base.__file__).read_text()
    lines = source.splitlines()
    groups = {
        f.name: f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef)
    }
    names = {"evaluation": "eval", "get_config": ""}
    for name, function in groups.items():
        for node in ast.walk(function):
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if isinstance(target, ast.Attribute):
                _, *path = ast.unparse(target).split(".")
                key = ".".join(filter(None, [names.get(name, name), *path]))
                code = lines[node.lineno - 1 : node.end_lineno]
                comment = " ".join(x.partition("  # ")[2] for x in code)
                yield key, comment.strip(), ast.unparse(node.value)


def test_every_key_has_a_comment():
    group = re.compile(r"ConfigDict\(\)|\w+\(\)")
    missing = [
        k for k, said, value in assigned() if not said and not group.match(value)
    ]
    assert missing == []


def test_every_key_of_base_is_assigned_once():
    keys = [key for key, _, value in assigned()]
    assert len(keys) == len(set(keys))
    leaves = {k.rsplit(".title", 1)[0] for k in flatten(base.get_config().to_dict())}
    assert leaves <= set(keys)


def test_the_comments_name_the_choices():
    """`# path | greedy | ...` in base.py is what the code knows."""
    said = {key: comment for key, comment, _ in assigned()}
    for key, known in CHOICES.items():
        assert all(re.search(rf"\b{word}\b", said[key]) for word in known), key
