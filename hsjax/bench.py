"""Speed, as one JSON object with a ratio to a peer that ran in turn with it.

python -m hsjax.bench step --config=FILE      a training step, against PyTorch's
python -m hsjax.bench loader --config=FILE    the loader, against torch's DataLoader
python -m hsjax.bench loss                    contrastive losses, against dense ones
python -m hsjax.bench decode --taxonomy=FILE  the tree distribution, against softmax
python -m hsjax.bench heads --config=FILE     heads on features, against HiClass
python -m hsjax.bench embed --config=FILE     a frozen encoder, against PyTorch's
python -m hsjax.bench predict --run=DIR --input=FILE   a file to a file, and a loop
python -m hsjax.bench discover --config=FILE  clusters of generated vectors, K-means
python -m hsjax.bench cost --runs=FILE.jsonl --root=DIR         a product, row by row
python -m hsjax.bench compile --config=FILE --topology=v5e:2x4  no TPU is needed
python -m hsjax.bench choices --config=FILE --vary=model.remat=none,dots   side by side
"""

import json
import os
import sys
from pathlib import Path

from absl import app, flags

from hsjax.atomic import write_atomically
from hsjax.main import CONFIG, parse_flags, show_log
from hsjax.timing import THREADS, is_noisy, pin

TAXONOMY = flags.DEFINE_string(
    "taxonomy", None, "taxonomy.json, or .csv with HS codes."
)
ROWS = flags.DEFINE_integer("rows", 1024, "Batch of `decode`.", 1)
ITEMS = flags.DEFINE_integer(
    "items", 2048, "Items of `embed` and `predict` (0 = all), and of `discover`.", 0
)
WIDTH = flags.DEFINE_integer("width", 64, "Numbers of a vector of `discover`.", 1)
ROUNDS = flags.DEFINE_integer("rounds", 9, "Turns of each side.", lower_bound=7)
PAIRS = flags.DEFINE_integer("pairs", 4096, "Batch of `loss`.", lower_bound=2)
CHUNK = flags.DEFINE_integer("chunk", 1024, "Of `loss`: pictures of a block.", 1)
TRAIN_ROWS = flags.DEFINE_integer("train_rows", 4000, "Of `heads`; 0 = all.", 0)
JOBS = flags.DEFINE_integer(
    "jobs", THREADS, "Processes of `heads`' peer: its nodes side by side.", 1
)
RUNS = flags.DEFINE_string("runs", None, "Of `cost`, as launch/sweep.py reads it.")
ROOT = flags.DEFINE_string("root", None, "Of `cost`: folder of the workdirs.")
SET = flags.DEFINE_multi_string("set", [], "Of `cost`, as for launch/sweep.py.")
ONLY = flags.DEFINE_list("only", [], "Of `cost`: rows of the list; default: all.")
OUTPUT = flags.DEFINE_string(
    "output", None, "Of `cost` and `choices`: FILE.md for a table."
)
TOPOLOGY = flags.DEFINE_string("topology", None, "Of `compile`: v5e:2x4, ... | here.")
RUN = flags.DEFINE_string("run", None, "Of `predict`: workdir of a trained run.")
INPUT = flags.DEFINE_string("input", None, "Of `predict`: a catalogue.")
VARY = flags.DEFINE_multi_string(
    "vary", [], "Of `choices`: KEY=VALUE,VALUE; several: every combination."
)
STEPS = flags.DEFINE_integer("steps", 50, "Of `choices`: timed steps of each.", 1)
TRACE = flags.DEFINE_string("trace", "", "Of `choices`: folder for a profile.")
JSON_FILE = flags.DEFINE_string("json", None, "File for the JSON beside the screen.")


def _decode(rounds: int) -> dict:
    from hsjax.benchmarks.decode import bench_decode

    return bench_decode(Path(TAXONOMY.value), rows=ROWS.value, rounds=rounds)


def _loader(rounds: int) -> dict:
    from hsjax.benchmarks.loader import bench_loader

    return bench_loader(CONFIG.value, rounds=rounds)


def _embed(rounds: int) -> dict:
    from hsjax.benchmarks.embed import bench_embed

    return bench_embed(CONFIG.value, items=ITEMS.value, rounds=rounds)


def _cost(rounds: int) -> dict:
    from hsjax.benchmarks.cost import bench_cost

    asked = {"common": SET.value, "only": ONLY.value, "rounds": rounds}
    return bench_cost(Path(RUNS.value), Path(ROOT.value), **asked)


def _heads(rounds: int) -> dict:
    from hsjax.benchmarks.heads import bench_heads

    asked = {"rows": TRAIN_ROWS.value, "jobs": JOBS.value}
    return bench_heads(CONFIG.value, rounds=rounds, **asked)


def _loss(rounds: int) -> dict:
    from hsjax.benchmarks.loss import bench_loss

    return bench_loss(rows=PAIRS.value, chunk=CHUNK.value, rounds=rounds)


def _discover(rounds: int) -> dict:
    from hsjax.benchmarks.discover import bench_discover

    asked = {"rows": ITEMS.value, "width": WIDTH.value, "rounds": rounds}
    return bench_discover(CONFIG.value.recategorize, **asked)


def _step(rounds: int) -> dict:
    from hsjax.benchmarks.step import bench_step

    return bench_step(CONFIG.value, rounds=rounds)


def _predict(rounds: int) -> dict:
    from hsjax.benchmarks.catalogue import bench_predict

    places = Path(RUN.value), Path(INPUT.value)
    return bench_predict(*places, items=ITEMS.value, rounds=rounds)


def _compile(rounds: int) -> dict:  # nothing is timed
    from hsjax.benchmarks.ahead import bench_ahead

    return bench_ahead(CONFIG.value, TOPOLOGY.value)


def _choices(rounds: int) -> dict:  # steps, not turns
    from hsjax.benchmarks.choices import bench_choices, read_vary

    asked = {"steps": STEPS.value, "trace": TRACE.value}
    return bench_choices(CONFIG.value, read_vary(VARY.value), **asked)


def write_table(name: str, result: dict) -> None:
    """The Markdown of a bench that is a table; its JSON is on the screen."""
    if name == "cost":
        from hsjax.benchmarks.cost import cost_markdown as markdown
    else:
        from hsjax.benchmarks.choices import choices_markdown as markdown
    write_atomically(OUTPUT.value, markdown(result))
    print(f"table: {OUTPUT.value}", file=sys.stderr)


# name -> what it does, the flags that it needs, and others that it reads beside --json
BENCHES = {
    "step": (_step, (CONFIG,), (ROUNDS,)),
    "loader": (_loader, (CONFIG,), (ROUNDS,)),
    "loss": (_loss, (), (PAIRS, CHUNK, ROUNDS)),
    "decode": (_decode, (TAXONOMY,), (ROWS, ROUNDS)),
    "heads": (_heads, (CONFIG,), (TRAIN_ROWS, JOBS, ROUNDS)),
    "embed": (_embed, (CONFIG,), (ITEMS, ROUNDS)),
    "predict": (_predict, (RUN, INPUT), (ITEMS, ROUNDS)),
    "cost": (_cost, (RUNS, ROOT), (SET, ONLY, OUTPUT, ROUNDS)),
    "discover": (_discover, (CONFIG,), (ITEMS, WIDTH, ROUNDS)),
    "compile": (_compile, (CONFIG, TOPOLOGY), ()),
    "choices": (_choices, (CONFIG,), (VARY, STEPS, TRACE, OUTPUT)),
}


def check_flags(name: str) -> None:
    """Has a bench all flags that it needs, and a part for each that was given?

    Raises:
      UsageError: it has not.
    """
    _, needed, others = BENCHES[name]
    for flag in needed:
        if not flag.value:
            raise app.UsageError(f"bench {name} needs --{flag.name}")
    known = {flag.name for flag in (*needed, *others)}
    given = {flag.name for bench in BENCHES.values() for flag in (*bench[1], *bench[2])}
    for flag in sorted(given - known):
        if flags.FLAGS[flag].present:
            raise app.UsageError(f"--{flag} says nothing to {name}: leave it out")


def run(argv) -> None:
    if len(argv) != 2 or argv[1] not in BENCHES:
        raise app.UsageError(__doc__)
    check_flags(argv[1])
    bench = BENCHES[argv[1]][0]
    # what has no peer on the CPU is not held to its two threads
    keep = {"load": os.getloadavg()[0], "cores": os.cpu_count() or 1}
    settings = keep if argv[1] in ("choices", "compile") else pin()
    result = {"name": argv[1], **settings, "rounds": ROUNDS.value}
    from hsjax.tasks.registry import user_errors

    files = [Path(flag.value) for flag in (OUTPUT, JSON_FILE) if flag.value]
    with user_errors():
        for path in files:  # before minutes of measuring
            path.parent.mkdir(parents=True, exist_ok=True)
        result |= bench(ROUNDS.value)
    result["load_after"] = os.getloadavg()[0]
    result["noisy"] = is_noisy(result)
    text = json.dumps(result, indent=1)
    print(text)
    if OUTPUT.value:
        write_table(argv[1], result)
    if JSON_FILE.value:
        write_atomically(JSON_FILE.value, text + "\n")


def main() -> None:
    show_log()
    app.run(run, flags_parser=parse_flags)


if __name__ == "__main__":
    sys.exit(main())
