"""`bench choices` runs every combination on the same rows, and tells what it cannot."""

import jax
import pytest
from runs import TEXT, run_config

from hsjax.benchmarks import choices
from hsjax.benchmarks.choices import bench_choices, choices_markdown, read_vary
from hsjax.train.workdir import ConfigError


@pytest.mark.slow
def test_every_combination_has_its_line(tmp_path):
    vary = {"model.scan": [False, True], "data.batch_size": [8, 16]}
    found = bench_choices(run_config(TEXT), vary, steps=3, trace=str(tmp_path / "t"))
    lines = found["choices"]
    assert [*lines] == [
        "scan=False, batch_size=8",
        "scan=False, batch_size=16",
        "scan=True, batch_size=8",
        "scan=True, batch_size=16",
    ]
    for line in lines.values():
        assert 0 < line["step_p50"] <= line["step_p99"]
        assert line["bytes_per_device"] > 0
        assert "mfu" not in line, "nobody knows the peak of a CPU"
    assert found["best"] in lines
    assert [*(tmp_path / "t").rglob("*.xplane.pb")]
    shown = choices_markdown(found)
    assert all(told in shown for told in lines)


def test_one_that_does_not_fit_is_a_line_of_its_own(monkeypatch):

    def full(config, *rest, **options):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 3 GiB\nmore")

    monkeypatch.setattr(choices, "_measured", full)
    found = bench_choices(run_config(TEXT), {}, steps=1)
    assert found["choices"]["as it is"] == {
        "out_of_memory": "RESOURCE_EXHAUSTED: 3 GiB"
    }
    assert "| as it is | out of memory |" in choices_markdown(found)


def test_words_are_read_as_json_has_them():
    assert read_vary(["a.b=true,1,dots", "c=0.5", "d=(32, 64),()"]) == {
        "a.b": [True, 1, "dots"],
        "c": [0.5],
        "d": [(32, 64), ()],
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.remat"], "KEY=VALUE,VALUE"),
        (["data.rows=5"], "the catalogue is read once"),
        (["model.remta=full"], "model.remta"),
        (["model.remat=ful"], "model.remat"),
        (["model.scan=3.5"], "model.scan"),
    ],
)
def test_mistakes_are_told_before_anything_runs(words, told):
    with pytest.raises(ConfigError, match=told):
        bench_choices(run_config(TEXT), read_vary(words), steps=1)
