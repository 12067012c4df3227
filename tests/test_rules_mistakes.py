"""Rules on names of parameters: one that is wrong, or that leaves a parameter out."""

import pytest
from runs import TEXT, run_config

from hsjax.tasks.registry import TASKS, user_errors

COLUMNS = {"data.columns.id": "id", "data.columns.label": ("hs_code",)}
MOST = r"(?!head/level2/kernel).*"
REST = r"head/level2/kernel"


def sentence(shop, workdir, changes):
    config = run_config({**TEXT, **COLUMNS, "data.path": str(shop), **changes})
    with pytest.raises(SystemExit) as stop, user_errors():
        TASKS[config.task](config, workdir)
    return str(stop.value.code)


@pytest.mark.parametrize(
    ("key", "rule"),
    [("optim.rules", (MOST, 1.0, True)), ("train.sharding", (MOST, ()))],
)
@pytest.mark.parametrize("task", ["train", "check"])
def test_a_parameter_without_a_rule_is_named(shop, tmp_path, task, key, rule):
    told = sentence(shop, tmp_path, {key: (rule,), "task": task})
    assert told == (
        f"hsjax: {key}: no rule covers the parameter '{REST}'; let the last rule be"
        " for '.*'"
    )
    assert not any((tmp_path / "checkpoints").glob("*"))


MISTAKES = [
    ("init_rules", (".*", "frsh"), "('.*', 'frsh') is no (regex, load | fresh)"),
    ("init_rules", (".*",), "('.*',) is no (regex, load | fresh)"),
    ("optim.rules", ("(", 1.0, True), "('(', 1.0, True) is no (regex, multiplier"),
    ("optim.rules", (".*", -1.0, True), "is no (regex, multiplier of 0 or more"),
    ("optim.rules", (".*", 1.0, "no"), "is no (regex, multiplier of 0 or more"),
    ("optim.rules", (".*", 1.0), "is no (regex, multiplier of 0 or more"),
    (
        "train.sharding",
        (".*", ("fdsp",)),
        "is no (regex, (axis of data | fsdp | tensor | None",
    ),
    (
        "train.sharding",
        (".*", "data"),
        "is no (regex, (axis of data | fsdp | tensor | None",
    ),
]


@pytest.mark.parametrize(("key", "rule", "words"), MISTAKES)
def test_a_rule_that_is_none_is_told_before_anything_is_read(
    tmp_path, key, rule, words
):
    told = sentence("gone.parquet", tmp_path, {key: (rule,)})
    assert told.startswith(f"hsjax: {key}: ")
    assert words in told


def test_init_rules_that_leave_a_parameter_out(shop, tmp_path):
    source = tmp_path / "source"
    config = run_config(
        {**TEXT, **COLUMNS, "data.path": str(shop)}, train__steps=1, train__eval_every=1
    )
    TASKS["train"](config, source)
    changes = {"init_from": str(source), "init_rules": ((MOST, "load"),)}
    told = sentence(shop, tmp_path / "run", changes)
    assert told.startswith(f"hsjax: init_rules: no rule covers the parameter '{REST}'")
    # what a level reads is told by the head, not by shapes
    head = {"init_from": str(source), "model.head.feed": "none"}
    told = sentence(shop, tmp_path / "other", head)
    assert "model.head.feed or model.head.level_width is another one" in told
