"""Both benches run as a command, and say when their figures are not to be quoted."""

import json

import pytest
from runs import TEXT, command, overrides

from hsjax.bench import is_noisy, summary


def result(process, path):
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(path.read_text())


def test_both_benches(tmp_path):
    (tmp_path / "tree.csv").write_text("code,name\n010121,horse\n020110,beef\n")
    tree = (f"--taxonomy={tmp_path}/tree.csv", "--rows=16", "--rounds=7")
    loader = ("--config=configs/base.py", *overrides(TEXT), "--rounds=7")
    processes = [
        command(name, *flags, f"--output={tmp_path}/{name}", module="hsjax.bench")
        for name, flags in (("tree", tree), ("input", loader))
    ]
    tree, loader = (
        result(p, tmp_path / name)
        for p, name in zip(processes, ("tree", "input"), strict=True)
    )
    for found in (tree, loader):
        assert found["rounds"] == 7
        assert found["threads"] == "all cores, not pinned"
        assert isinstance(found["noisy"], bool)
    low, high = tree["loss_gradient"]["ratio_quartiles"]
    assert 0 < low <= tree["loss_gradient"]["ratio"] <= high
    rates = [v["median"] for k, v in loader.items() if k.endswith("per_second")]
    assert len(rates) == 3
    assert min(rates) > 0
    assert 0 <= loader["input_wait"] <= 1


def test_few_rounds_are_refused():
    process = command("tree", "--taxonomy=x", "--rounds=6", module="hsjax.bench")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "rounds" in err


@pytest.mark.parametrize(
    ("load", "rounds", "noisy"),
    [
        (1.0, [1.0, 1.0, 1.1], False),
        (2.6, [1.0, 1.0, 1.1], True),
        (1.0, [1, 2, 3], True),
    ],
)
def test_load_and_rounds_that_disagree_are_noise(load, rounds, noisy):
    spread = {f"ratio_{k}": v for k, v in summary(rounds).items()}
    assert is_noisy({"load": load, "cores": 2, "decode": spread}) == noisy


def test_summary():
    assert summary([1.0, 2.0, 3.0, 4.0, 5.0]) == {
        "median": 3.0,
        "quartiles": [2.0, 4.0],
        "spread": pytest.approx(2 / 3),
    }
