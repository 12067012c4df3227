"""Sweeps: lines to runs, runs to reports, reports to a table; and what is refused."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs import ROOT, SMALL, TEXT

from configs.base import get_config
from hsjax.models.published_towers import settle
from hsjax.sweep import launchers
from hsjax.sweep.jobs import (
    CACHE,
    Job,
    check_sources,
    evaluation_jobs,
    is_current,
    read_evaluations,
    training_jobs,
)
from hsjax.sweep.launchers import (
    check_through,
    print_commands,
    run_local,
    submit_slurm,
)
from hsjax.sweep.lists import (
    check_runs,
    chosen_runs,
    is_done_below,
    read_runs,
    resolve,
)
from hsjax.sweep.tables import make_table
from hsjax.train.config import config_hash, plain
from hsjax.train.workdir import ConfigError

BASE = "configs/base.py"
SVM = {**SMALL, **TEXT, "task": "baseline"}


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def write_lines(folder, *lines, name="runs.jsonl"):
    path = folder / name
    path.write_text("\n\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def line(name="a", config=BASE, **fields):
    return {"name": name, "config": config, **fields}


def sweep(*arguments):
    """`python launch/sweep.py ...`, as a user starts it."""
    return subprocess.run(
        [sys.executable, "launch/sweep.py", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def test_the_seed_may_stand_in_a_value(tmp_path):
    seed = {"data.synthetic.seed": "{seed}", "init_from": "runs/pair/seed{seed}"}
    runs = read_runs(write_lines(tmp_path, line(overrides=seed, seed=[0, 3])))
    assert [run.config.data.synthetic.seed for run in runs] == [0, 3]
    assert [run.config.init_from[-5:] for run in runs] == ["seed0", "seed3"]
    assert {run.row for run in runs} == {"a"}


def test_the_root_and_what_the_user_says_may_stand_in_a_value(tmp_path):
    pair = line("pair", overrides={"train.ema": 0.5})
    own = line("own", overrides={"init_from": "{root}/pair/seed{seed}"}, seed=[0, 3])
    other = line("other", overrides={"init_from": "{shops}/late"})
    path = write_lines(tmp_path, pair, own, other)
    said = "{shops}=runs/shops"
    runs = read_runs(path, [said], tmp_path / "b/")
    found = [run.config.init_from for run in runs]
    assert found == [
        None,
        *(f"{tmp_path}/b/pair/seed{x}" for x in (0, 3)),
        said[8:] + "/late",
    ]
    assert [run.row for run in runs] == ["pair", "own", "own", "other"]
    below = read_runs(path, ["{shops}={root}/../shops"], Path("b"))[-1]
    assert below.config.init_from == "b/../shops/late"
    with pytest.raises(ConfigError, match=r"line 3: .* \{root\} .*; --root does"):
        read_runs(path, [said])
    told = r"line 5: nobody says what \{shops\} stands for .*--set='\{shops\}=VALUE'"
    with pytest.raises(ConfigError, match=told):
        read_runs(path, [], tmp_path)
    with pytest.raises(ConfigError, match=r"no line of .* says \{shosp\}"):
        read_runs(path, [said, "{shosp}=x"], tmp_path)
    for word, told in (("{seed}=1", "seeds stand in"), ("{root}=x", "--root says it")):
        with pytest.raises(ConfigError, match=told):
            read_runs(path, [said, word], tmp_path)
    rules = {"init_rules": [["image/.{3}", "load"], [".*", "fresh"]]}
    (run,) = read_runs(write_lines(tmp_path, line(overrides=rules)))
    assert run.config.init_rules[0] == ("image/.{3}", "load"), "no word of a list"


def test_a_line_may_be_like_one_above(tmp_path):
    path = write_lines(
        tmp_path,
        line("a", overrides={"train.ema": 0.5, "data.batch_size": 8}, seed=[1, 2]),
        {"name": "b", "like": "a", "overrides": {"data.batch_size": 9}, "seed": [1]},
        {"name": "c", "like": "b", "reference": "a"},
    )
    runs = read_runs(path)
    assert [run.name for run in runs] == ["a/seed1", "a/seed2", "b/seed1", "c/seed1"]
    assert [run.config.data.batch_size for run in runs] == [8, 8, 9, 9]
    assert {run.config.train.ema for run in runs} == {0.5}
    assert [run.reference for run in runs] == ["", "", "", "a"]
    # what stands in place of the list's own config keeps what the lines change
    (*_, last) = read_runs(path, ["config=configs/quickstart.py"])
    assert last.config.data.batch_size == 9
    assert last.config.model.modality_dropout > 0


def test_a_line_with_several_seeds_is_a_row_of_runs(tmp_path):
    path = write_lines(
        tmp_path,
        line("ref", overrides={"data.batch_size": 8, "train.ema": 0}, seed=[0, 3]),
        line("ref/seed7", overrides={"data.batch_size": 8, "train.ema": 0}, seed=7),
        line("one", reference="ref"),
    )
    runs = read_runs(path)
    assert [r.name for r in runs] == ["ref/seed0", "ref/seed3", "ref/seed7", "one"]
    assert [r.row for r in runs] == ["ref"] * 3 + ["one"]
    assert [r.config.seed for r in runs] == [0, 3, 7, 0]
    assert runs[0].config.data.batch_size == 8
    assert runs[3].reference == "ref"
    assert runs[0].arguments == (
        "--config=configs/base.py",
        "--config.data.batch_size=8",
        "--config.train.ema=0",
        "--config.seed=0",
    )


def test_values_arrive_as_they_stand_in_json(tmp_path):
    rules = [["text/.*", 0.0, False], [".*", 1.0, True]]
    overrides = {
        "optim.rules": rules,
        "model.modalities": ["title"],
        "data.image.flip": False,
        "data.rows": 5,
        "eval.parts": [],
    }
    (run,) = read_runs(write_lines(tmp_path, line(overrides=overrides)))
    assert run.config.optim.rules == (("text/.*", 0.0, False), (".*", 1.0, True))
    assert run.config.model.modalities == ("title",)
    assert run.config.data.image.flip is False
    assert run.config.data.rows == 5
    assert run.config.eval.parts == ()


def test_one_config_may_stand_in_place_of_the_lists_own(tmp_path):
    path = write_lines(tmp_path, line(config="gone.py", overrides={"train.ema": 0.5}))
    (run,) = read_runs(path, ["config=configs/quickstart.py", "data.batch_size=9"])
    assert run.config.data.batch_size == 9
    assert run.config.train.ema == 0.5
    assert run.config.model.modality_dropout > 0, "of the quickstart"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([line(sed=1)], r"line 1: 'sed' is unknown. Did you mean 'seed'\?"),
        ([line("../a")], "the name '../a' is no name of a folder"),
        ([line(config="gone.py")], "there is no config 'gone.py'"),
        ([line(overrides={"optim.nam": "adam"})], "line 1: .*nam"),
        ([line(overrides={"data.batch_size": "many"})], "line 1: .*many"),
        ([line(overrides={"data.text.streams": {"a": ["a"]}})], "a file of its own"),
        ([line(overrides={"seed": 3})], "the seed stands beside them"),
        ([line(seed=[0, "x"])], "the seed 'x' is no whole number"),
        ([line(), line()], "the name 'a' stands for two runs"),
        ([line(reference="b")], "the reference of a is 'b', no row of the file"),
        (
            [line("a/seed0"), line("a/seed1", seed=1, overrides={"train.ema": 0.5})],
            "may differ in their seed only",
        ),
        ([["a"]], "line 1: no JSON object"),
        ([line(reference=["b"])], r"the reference \['b'\] is no name of a row"),
        ([line(seed=[])], "seed is an empty list"),
        ([line("b", like="a"), line()], "line 1: like is 'a', no name of a line above"),
        (
            [line("ref"), {"like": "ref"}],
            "line 3: the name None is no name of a folder",
        ),
    ],
)
def test_a_mistake_in_a_line_is_told(tmp_path, lines, told):
    with pytest.raises(ConfigError, match=told):
        read_runs(write_lines(tmp_path, *lines))


def test_a_config_that_cannot_be_read_is_not_the_one_before(tmp_path):
    for name, text in (("typo", "def getconfig(): pass"), ("broken", "import colour")):
        (tmp_path / f"{name}.py").write_text(text)
        lines = (line(), line("b", config=str(tmp_path / f"{name}.py")))
        with pytest.raises(ConfigError, match=r"line \d: .*(get_config|colour)"):
            read_runs(write_lines(tmp_path, *lines))


def test_what_a_list_says_twice_or_in_another_place_is_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"name": "a", "name": "b", "config": "configs/base.py"}')
    with pytest.raises(ConfigError, match="line 1: .*'name' stands twice"):
        read_runs(path)
    with pytest.raises(ConfigError, match="--set=seed=7: seeds stand in the lines"):
        read_runs(write_lines(tmp_path, line()), ["seed=7"])
    path.write_bytes('{"name": "é"}'.encode("latin-1"))
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        read_runs(path)


def test_empty_and_missing_files_are_refused(tmp_path):
    (tmp_path / "runs.jsonl").write_text("\n")
    with pytest.raises(ConfigError, match="has no run"):
        read_runs(tmp_path / "runs.jsonl")
    with pytest.raises(ConfigError, match="there is no file"):
        read_runs(tmp_path / "gone.jsonl")
    (tmp_path / "runs.jsonl").write_text("{")
    with pytest.raises(ConfigError, match="line 1: no JSON"):
        read_runs(tmp_path / "runs.jsonl")


def test_runs_are_done_once_and_become_a_table(tmp_path, capsys):
    path = write_lines(
        tmp_path,
        line("svm", overrides=SVM),
        line("broken", overrides=SVM | {"model.modalities": []}),
        line("again", overrides=SVM, seed=1, reference="svm"),
    )
    runs, root = read_runs(path), tmp_path / "root"
    with pytest.raises(ConfigError, match="no run of it is done"):
        make_table(path, runs, root, "t")
    (failed,) = run_local(training_jobs(runs[:2], root))
    assert failed.startswith("broken: model.modalities is empty; name text streams")
    assert "run.log" in failed
    report = json.loads((root / "svm/report.json").read_text())
    assert report["context"]["config_hash"] == config_hash(settle(runs[0].config, {}))
    made = (root / "svm/report.json").stat().st_mtime_ns
    # the same run with another seed, as TF-IDF + SVM hardly has any chance in it
    shutil.copytree(root / "svm", root / "again")
    report["context"]["config_hash"] = config_hash(settle(runs[2].config, {}))
    (root / "again/report.json").write_text(json.dumps(report))
    print_commands(training_jobs(runs, root))
    (command,) = capsys.readouterr().out.splitlines()
    assert "--config.model.modalities=()" in shlex.split(command)
    run_local(training_jobs([runs[0], runs[2]], root))
    assert (root / "svm/report.json").stat().st_mtime_ns == made
    (tmp_path / "t.json").write_text(
        json.dumps({"title": "Two", "rows": ["again", "svm"]})
    )
    text = make_table(path, runs, root, "t")
    assert text.startswith("# Two\n\n| row | runs done | level3/accuracy |")
    assert "| svm | 1 of 1 |" in text
    assert "broken" not in text
    assert "Not significant: again − svm in level3/accuracy" in text
    assert {p.name for p in root.glob("t.*")} == {"t.md", "t.csv", "t.png"}
    (tmp_path / "u.json").write_text(json.dumps({"rows": ["svn"]}))
    with pytest.raises(ConfigError, match=r"'svn' is no row. Did you mean 'svm'\?"):
        make_table(path, runs, root, "u")


def test_a_command_can_be_given_to_a_shell(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(CACHE, raising=False)
    overrides = {"model.modalities": ["title"], "optim.name": "adam"}
    runs = read_runs(write_lines(tmp_path, line(overrides=overrides, seed=[2])))
    print_commands(training_jobs(runs, tmp_path / "my root"))
    printed = capsys.readouterr().out
    ended = printed.replace("python -m hsjax.main", "printf '%s\\n'")
    words = subprocess.run(["bash", "-c", ended], capture_output=True, text=True)
    *arguments, workdir = words.stdout.splitlines()
    assert workdir == f"--workdir={tmp_path / 'my root' / 'a/seed2'}"
    assert resolve(arguments, "here") == runs[0].config
    assert printed.startswith(f"env '{CACHE}={tmp_path}/my root/compiled' ")


def test_slurm_is_given_one_job_per_run(tmp_path, capsys, monkeypatch):
    runs = read_runs(write_lines(tmp_path, line(seed=[0, 1])))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="there is no sbatch"):
        submit_slurm(training_jobs(runs, tmp_path))
    fake = tmp_path / "sbatch"
    fake.write_text('#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    jobs = training_jobs(runs, tmp_path)
    assert submit_slurm(jobs, "--gres=gpu:1 --time=60") == []
    told = capsys.readouterr().out
    for part in ("<--gres=gpu:1>", "<--time=60>", "<--job-name=a/seed1>", "<--wrap="):
        assert part in told
    assert told.count("python -m hsjax.main") == 2
    through = ("launch/slurm.sh",)
    assert submit_slurm([job._replace(through=through) for job in jobs]) == []
    told = capsys.readouterr().out
    assert "--wrap" not in told
    assert "<launch/slurm.sh>\n<--config=" in told
    assert f"<--workdir={tmp_path}/a/seed1>" in told


def test_a_training_is_given_to_a_script_and_an_evaluation_is_not(tmp_path, capsys):
    runs = read_runs(write_lines(tmp_path, line(name="A_b", seed=[3])))
    (job,) = training_jobs(runs, tmp_path)
    through = ("launch/gke.sh", "{name}", "IMAGE", "--")
    assert job.command[:3] == ("python", "-m", "hsjax.main")
    job = job._replace(through=through)
    assert job.command[:4] == ("launch/gke.sh", "a-b-seed3", "IMAGE", "--")
    assert job.command[4:] == job.words[2:]
    print_commands([job])
    assert "launch/gke.sh a-b-seed3 IMAGE -- --config=" in capsys.readouterr().out


SOURCE = {"init_from": "{root}/pair/seed{seed}"}


@pytest.fixture
def pairs(tmp_path):
    """(jobs, root) of a run that starts from another, which stands below it."""
    own = line("own", overrides=SOURCE, seed=[0, 1])
    path, root = write_lines(tmp_path, own, line("pair", seed=[0, 1])), tmp_path / "r"
    return training_jobs(read_runs(path, [], root), root), root


def finished(folder):
    """As a run of the base config leaves it."""
    folder.mkdir(parents=True)
    document = {"hash": "x", "config": plain(get_config()) | {"seed": 9}}
    (folder / "config.json").write_text(json.dumps(document))
    report = {"context": {"config_hash": "x"}}
    (folder / "report.json").write_text(json.dumps(report))


def test_a_run_stands_behind_the_one_that_it_starts_from(pairs, tmp_path, capsys):
    jobs, root = pairs
    names = ["pair/seed0", "pair/seed1", "own/seed0", "own/seed1"]
    assert [job.name for job in jobs] == names
    assert [job.source for job in jobs[2:]] == [
        root / "pair/seed0",
        root / "pair/seed1",
    ]
    assert [job.is_ready() for job in jobs] == [True, True, False, False]
    check_sources(jobs)
    print_commands(jobs)
    printed = capsys.readouterr().out.splitlines()
    assert all(
        f"--workdir={root / name}" in text
        for text, name in zip(printed, names, strict=True)
    )
    assert printed[2].endswith(f"  # after {root}/pair/seed0")
    assert "#" not in printed[0]
    with pytest.raises(ConfigError, match="own/seed0: init_from=.* is no workdir of a"):
        check_sources(jobs[2:])
    finished(root / "pair/seed0")  # but what the list asks for is another config
    assert not jobs[2].is_ready()
    circle = {"init_from": "{root}/own/seed0"}
    lines = (
        line("own", overrides=SOURCE, seed=[0]),
        line("pair/seed0", overrides=circle),
    )
    runs = read_runs(write_lines(tmp_path, *lines), [], root)
    with pytest.raises(ConfigError, match="init_from leads back to itself"):
        training_jobs(runs, root)


def test_what_no_run_of_the_list_leaves_has_to_be_there(tmp_path):
    path, root = (
        write_lines(tmp_path, line(overrides={"init_from": "{shops}"})),
        tmp_path,
    )
    shops = tmp_path / "shops"
    jobs = training_jobs(read_runs(path, [f"{{shops}}={shops}"], root), root)
    with pytest.raises(
        ConfigError, match=f"a: init_from={shops} is no workdir of a run"
    ):
        check_sources(jobs)
    finished(shops)
    check_sources(jobs)
    assert jobs[0].is_ready()
    (shops / "config.json").write_text(json.dumps({"hash": "longer"}))
    with pytest.raises(ConfigError, match=f"init_from={shops} has no report yet"):
        check_sources(jobs)


def test_a_run_whose_source_failed_is_told_and_not_begun(pairs):
    jobs, root = pairs
    failing = jobs[0]._replace(words=("-c", "raise SystemExit('hsjax: no')"))
    first, second = run_local([failing, jobs[2]])
    assert first.startswith("pair/seed0: no (exit 1")
    assert second == f"own/seed0: init_from={root}/pair/seed0 is not finished"
    assert not (root / "own").exists()


def test_slurm_lets_a_run_wait_for_the_one_that_it_starts_from(
    pairs, tmp_path, capsys, monkeypatch
):
    jobs, root = pairs
    fake, asked = tmp_path / "sbatch", tmp_path / "asked"
    # the second one is given no number that could be waited for
    fake.write_text(
        f'#!/bin/sh\necho "$@" >> {asked}\n'
        'case "$*" in *name=pair/seed0*) echo "71;big";; *) echo queued;; esac\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert submit_slurm(jobs, "--time=60 --dependency=singleton") == []
    given = asked.read_text().splitlines()
    assert [shlex.split(x)[1] for x in given] == [
        *("--job-name=pair/seed0", "--job-name=pair/seed1", "--job-name=own/seed0")
    ]
    after = "--dependency=singleton --dependency=afterok:71 --kill-on-invalid-dep=yes"
    assert after in given[2]
    assert "afterok" not in "".join(given[:2])
    told = capsys.readouterr().out
    assert f"own/seed1: {root}/pair/seed1 is not trained yet; the same command" in told


def test_a_run_is_stopped_gently(tmp_path, monkeypatch):
    """Ctrl-C ends the run under way with SIGTERM, and waits for it."""
    saved = tmp_path / "saved"
    child = (
        "import signal, sys, time\n"
        f"save = lambda *_: (open({str(saved)!r}, 'w').close(), sys.exit(3))\n"
        "signal.signal(signal.SIGTERM, save)\nprint('ready', flush=True)\n"
        "time.sleep(60)"
    )

    def stop(workdir):
        if "ready" in (workdir / "run.log").read_text():
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(launchers, "_progress", stop)
    with pytest.raises(KeyboardInterrupt):
        run_local([job_of(tmp_path / "a", child)])
    assert saved.exists()


def test_a_config_that_no_run_can_have_is_told_before_the_first(tmp_path):
    path = tmp_path / "list.jsonl"
    line = {"name": "a", "config": "configs/quickstart.py", "seed": [0, 1]}
    wrong = {**line, "name": "b", "overrides": {"model.modalities": ["titel"]}}
    path.write_text(json.dumps(line) + "\n")
    check_runs(read_runs(path))
    path.write_text(json.dumps(line) + "\n" + json.dumps(wrong) + "\n")
    with pytest.raises(ConfigError, match=r"^b/seed0: .*Did you mean 'title'\?"):
        check_runs(read_runs(path))


def test_why_a_job_failed_is_told(tmp_path):
    told = "print('hsjax: no such file'); raise SystemExit(1)"
    flags = "FATAL Flags parsing error: Unknown command line flag 'inptu'"
    absl = f"print({flags!r}); print('Pass --helpshort'); raise SystemExit(1)"
    codes = {"a": "pass", "b": told, "c": absl}
    jobs = [job_of(tmp_path / name, code) for name, code in codes.items()]
    first, second, third = run_local(jobs)
    assert first.startswith("a: it left no report of what was asked")
    assert second.startswith("b: no such file (exit 1; see ")
    assert third.startswith("c: Unknown command line flag 'inptu' (exit 1")


def job_of(folder, code):
    """A job that runs this code, and is done by nothing."""
    return Job(folder.name, folder, ("-c", code), {}, lambda: False)


def scored(runs, root, arguments, text="{}"):
    """(evaluation of the first run, whose process only writes this report)."""
    found = read_evaluations([f"half={arguments}"], runs)
    job = evaluation_jobs(runs, root, found)[0]
    code = f"open({str(job.folder / 'report.json')!r}, 'w').write({text!r})"
    return job._replace(words=("-c", code), is_ready=lambda: True)


def test_an_evaluation_is_done_once_for_its_arguments(tmp_path):
    runs, root = read_runs(write_lines(tmp_path, line())), tmp_path / "root"
    own, report = root / "a/report.json", root / "a/half/report.json"
    goods = tmp_path / "goods.csv"
    goods.write_text("title")
    own.parent.mkdir(parents=True)
    own.write_text("{}")
    first = scored(runs, root, "--corrupt=word_drop:0.5", "1")
    assert run_local([first]) == []
    assert run_local([first._replace(words=("-c", "1/0"))]) == [], "it is done"
    other = scored(runs, root, f"--input={goods}", "2")
    assert not other.is_done()
    failing = other._replace(words=("-c", "raise SystemExit('hsjax: no')"))
    assert run_local([failing]) == [f"a/half: no (exit 1; see {report.parent}/run.log)"]
    assert not other.is_done(), "a table would show what was asked before"
    assert not is_current(report, root / "a")
    assert report.read_text() == "1", "only looking, as --launcher=print, loses nothing"
    assert run_local([other]) == []
    assert report.read_text() == "2"
    goods.write_text("title,image")
    assert not scored(runs, root, f"--input={goods}").is_done()
    assert not first.is_done()
    run_local([first])
    later = report.stat().st_mtime_ns + 10**9
    os.utime(own, ns=(later, later))
    assert not first.is_done(), "the run was trained anew"
    os.utime(report, ns=(later, later))
    assert first.is_done()
    # trained anew by the very call that is asked for the evaluation
    training = Job("a", own.parent, (), {}, lambda: own.read_text() == "new")
    words = ("-c", f"open({str(own)!r}, 'w').write('new')")
    assert run_local([training._replace(words=words), first]) == []
    assert report.stat().st_mtime_ns > own.stat().st_mtime_ns


def test_an_evaluation_that_leaves_no_figures_is_done_too(tmp_path):
    """Of rows without labels, or an audit of labels."""
    runs, root = read_runs(write_lines(tmp_path, line())), tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a/report.json").write_text("{}")
    for name in ("report.md", "label_audit.md"):
        job = scored(runs, root, f"--seed={len(name)}")
        path = root / "a/half" / name
        assert (
            run_local([job._replace(words=("-c", f"open({str(path)!r}, 'w')"))]) == []
        )
        assert job.is_done()


def test_a_refused_evaluation_stops_no_other(tmp_path, capsys):
    runs, root = read_runs(write_lines(tmp_path, line(), line("b"))), tmp_path / "root"
    for name in "ab":
        (root / name).mkdir(parents=True)
    (root / "a/half").mkdir()
    (root / "a/half/mine.txt").write_text("")
    jobs = evaluation_jobs(runs, root, read_evaluations(["half="], runs))
    (failed,) = print_commands(jobs)
    assert "a/half holds something else" in failed
    assert f"--run={root}/b" in capsys.readouterr().out


def test_an_evaluation_waits_for_its_run_and_harms_no_other_folder(tmp_path, capsys):
    runs, root = read_runs(write_lines(tmp_path, line())), tmp_path / "root"
    jobs = evaluation_jobs(runs, root, read_evaluations(["own="], runs))
    assert run_local(jobs) == []
    assert not root.exists()
    print_commands([*training_jobs(runs, root), *jobs])
    training, command = map(shlex.split, capsys.readouterr().out.splitlines())
    assert "hsjax.main" in training
    assert command[-4:] == [
        *("-m", "hsjax.evaluate"),
        *(f"--run={root}/a", f"--output={root}/a/own"),
    ]
    kept = root / "a/checkpoints/7"
    kept.mkdir(parents=True)
    words = read_evaluations(["checkpoints=--part=val"], runs)
    (job,) = evaluation_jobs(runs, root, words)
    (failed,) = run_local([job._replace(is_ready=lambda: True)])
    assert "holds something else; take another name" in failed
    assert list((root / "a/checkpoints").iterdir()) == [kept]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--corrupt=typos@3"], "write NAME='ARGUMENTS'"),
        (["a/b=--part=val"], "write NAME='ARGUMENTS'"),
        (["half=--input='goods.csv"], "No closing quotation"),
        (["half=--output=x"], "--output=x is not yours to give"),
        (["half=--part=val", "half=--part=test"], "stands for two evaluations"),
        (["seed0=--part=val"], "a/seed0 is a run of the list"),
        (["half=--input goods.csv"], "write --input=FILE as one word"),
    ],
)
def test_a_mistake_in_an_evaluation_is_told(tmp_path, words, told):
    runs = read_runs(write_lines(tmp_path, line(), line("a/seed0")))
    with pytest.raises(ConfigError, match=told):
        read_evaluations(words, runs)


def test_the_command_ends_mistakes_in_a_sentence(tmp_path):
    path = write_lines(tmp_path, line())
    done = sweep(f"--runs={path}", f"--root={tmp_path}", "--launcher=tpus")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "hsjax: --launcher=tpus is unknown; known: local, print, slurm, tpu, gke"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "script"), [("tpu", "tpu_pod.sh a b c --"), ("gke", "gke.sh {name} i --")]
)
def test_a_launcher_elsewhere_wants_its_script(name, script):
    check_through(name, ("launch/" + script).split())
    check_through("local", ())
    for wrong in ((), ("launch/local.sh", "-n", "2")):
        with pytest.raises(ConfigError, match=rf"{name}: add --through='launch/{name}"):
            check_through(name, wrong)


def test_a_command_line_that_no_shell_reads_is_told(tmp_path):
    path = write_lines(tmp_path, line())
    words = (f"--runs={path}", f"--root={tmp_path}", "--launcher=print")
    done = sweep(*words, "--through=x 'y")
    told = "hsjax: --through=x 'y: No closing quotation"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, told)


def test_options_of_another_launcher_are_refused(tmp_path):
    path = write_lines(tmp_path, line())
    words = (f"--runs={path}", f"--root={tmp_path}", "--launcher=print")
    done = sweep(*words, "--slurm=--time=60")
    assert done.returncode == 1
    assert "hsjax: --slurm says nothing with the launcher print" in done.stderr


def test_a_row_that_nobody_asks_for_may_be_none_here(tmp_path):
    """A catalogue without a brand runs the rows of the text."""
    brand = {"data.text.streams.brand": ["brand"]}
    path = write_lines(tmp_path, line(), line("b", overrides=brand, reference="a"))
    with pytest.raises(ConfigError, match="line 3: no such key"):
        read_runs(path)
    with pytest.raises(ConfigError, match="line 3: no such key"):
        read_runs(path, only=["b"])
    runs = read_runs(path, only=["a"])
    assert [run.config is None for run in runs] == [False, True]
    assert not is_done_below(tmp_path, runs[1])
    assert [run.row for run in chosen_runs(runs, ["a"])] == ["a"]


@pytest.mark.slow
def test_the_command_runs_what_is_left_and_makes_the_table(tmp_path):
    path, root = write_lines(tmp_path, line(overrides=SVM, seed=[0, 1])), tmp_path / "r"
    words = (f"--runs={path}", f"--root={root}")
    done = sweep(*words, "--launcher=print")
    assert done.stdout.count("--config.task=baseline") == 2
    assert not root.exists()
    other = write_lines(tmp_path, line(), line("b"), name="two.jsonl")
    done = sweep(f"--runs={other}", words[1], "--only=b", "--launcher=print")
    assert done.stdout.count("--workdir=") == 1
    assert f"--workdir={root}/b" in done.stdout
    assert "'c' is no row" in sweep(f"--runs={other}", words[1], "--only=c").stderr
    done = sweep(*words)
    assert done.returncode == 0, done.stderr
    done = sweep(*words, "--table=both", "--evaluate=lost=--corrupt=no_text:1")
    assert done.stdout.startswith("# both\n\n| row | runs done |")
    assert "| a | 2 of 2 |" in done.stdout
    definition = {"folder": "lost", "metrics": {"level1/accuracy": "lost"}}
    (tmp_path / "lost.json").write_text(json.dumps(definition))
    done = sweep(*words, "--table=lost,both")
    assert "| a | 2 of 2 |" in done.stdout.partition("# both")[0]
    reports = [root / "a/seed0" / x / "report.json" for x in ("", "lost")]
    whole, lost = (json.loads(path.read_text())["metrics"] for path in reports)
    assert lost["level1/accuracy"] < whole["level1/accuracy"]


@pytest.mark.slow
def test_a_run_whose_source_is_trained_anew_is_told(tmp_path):
    tiny = {**SMALL, **TEXT, "train.steps": 2, "train.eval_every": 1}
    own = line("own", overrides=tiny | SOURCE, seed=[0])
    path = write_lines(tmp_path, own, line("pair", overrides=tiny, seed=[0]))
    root = tmp_path / "r"
    words = (f"--runs={path}", f"--root={root}")
    done = sweep(*words)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 are done" in done.stderr
    assert "2 of 2 are done" in sweep(*words).stderr
    shutil.rmtree(root / "pair")
    tiny |= {"optim.learning_rate": 0.02}
    lines = own, line("pair", overrides=tiny, seed=[0])
    write_lines(tmp_path, *lines)
    done = sweep(*words)
    assert f"{root}/pair/seed0 is no longer what this run started from" in done.stderr
    assert f"remove {root}/own/seed0 to start from it as it is now" in done.stderr
    shutil.rmtree(root / "own")
    assert "2 of 2 are done" in sweep(*words).stderr
