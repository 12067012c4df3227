"""What `bench predict` measures: a file to a file, against a plain loop in PyTorch.

The loop is what one writes first: rows of the CSV in batches as they come, tokenizer
and encoder of transformers, a linear layer over the leaves, a softmax, a line for each
row. The encoder is the run's own, by way of `hsjax.export`; the last layer is drawn, as
only its time counts. It keeps no parts, no quarantine and no tree.
"""

import csv
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from hsjax.batch import IMAGE
from hsjax.benchmarks.peers import check_torch, peer_device
from hsjax.data.columns import model_columns
from hsjax.data.features import stores_of
from hsjax.data.fields import as_text
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.sources import read_rows
from hsjax.hierarchy import leaf_paths
from hsjax.inference.encoder_files import export_run
from hsjax.inference.predict import load_run
from hsjax.prediction.catalogue import Done, predict_catalogue
from hsjax.timing import THREADS, compared, headline

ROWS = 32  # of the loop's batch, as transformers' pipelines are often given


def bench_predict(workdir: Path, source: Path, *, items: int, rounds: int) -> dict:
    """Products a second of `predict` and of the loop, reading and writing included.

    Neither side's loading of the model is counted; the compilation of ours is, and so
    are its parts, hashes and audit record.

    Args:
      workdir: of a run on one text stream with its encoder in the model.
      source: a catalogue with its columns; items: of its first rows, 0 = all.

    Raises:
      ConfigError: PyTorch is not installed, or cannot use jax's accelerator.
      CatalogueError: another kind of run, or a file that cannot be read.
    """
    check_torch("predict")
    run = load_run(workdir)
    columns, modality = _read_columns(run.config), run.config.model.modalities[0]
    leaves = ["/".join(map(str, path)) for path in leaf_paths(run.tree).tolist()]
    times, own = ([], []), {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        count = write_texts(source, home / "goods.csv", columns, items)
        export_run(workdir, home / "encoder", modality=modality)
        device, facts = peer_device("predict")
        loop = _make_loop(home / "encoder", run.config, leaves, device)
        for turn in range(rounds + 1):
            output = home / f"codes{turn}.csv"
            done, own_seconds = _timed(workdir, home / "goods.csv", output)
            seconds = loop(home / "goods.csv", columns, home / "loop.csv")
            if turn:
                times[0].append(own_seconds)
                times[1].append(seconds)
        own = {"answered": done.answered}
    found = compared(*times)
    told = headline("predict", count, found, peer_is="a plain loop, transformers")
    sizes = {"items": count, "leaves": len(leaves), **own}
    return {**told, **facts, **sizes, "predict": found}


def _timed(workdir: Path, source: Path, output: Path) -> tuple[Done, float]:
    """What came of it, and seconds of the whole call without loading the model."""
    start = time.perf_counter()
    done = predict_catalogue(workdir, source, output)
    return done, time.perf_counter() - start - done.loading


def _read_columns(config) -> Sequence[str]:
    """CatalogueError: the loop cannot stand beside such a run."""
    modalities = list(config.model.modalities)
    if len(modalities) != 1 or IMAGE in modalities or stores_of(config):
        raise CatalogueError(
            "bench predict takes a run on one text stream with its encoder in the"
            f" model: this one reads {', '.join(modalities)}"
            + (" from features" if stores_of(config) else "")
        )
    return model_columns(config)


def write_texts(source: Path, path: Path, columns: Sequence[str], items: int) -> int:
    """The wanted columns as CSV, which both sides read; their number of rows."""
    rows = read_rows(source, Quarantine(), columns=columns)
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for _, values in islice(rows, items or None):
            writer.writerow({name: as_text(values.get(name)) for name in columns})
            count += 1
    if not count:
        raise CatalogueError(f"{source} has no rows")
    return count


def _make_loop(encoder: Path, config, leaves: Sequence[str], device: str):
    """`loop(source, columns, output)`: seconds that it took."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(THREADS)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder, dtype=torch.float32).eval().to(device)
    head = torch.nn.Linear(model.config.hidden_size, len(leaves)).to(device)
    length, pool = config.data.text.length, config.model.text.pool

    @torch.inference_mode()
    def answered(texts):
        options = {"padding": True, "truncation": True, "max_length": length}
        tokens = tokenizer(texts, return_tensors="pt", **options).to(device)
        states = model(**tokens).last_hidden_state
        kept = tokens["attention_mask"][:, :, None].float()
        mean = (states * kept).sum(dim=1) / kept.sum(dim=1)
        probs = head(mean if pool == "mean" else states[:, 0]).softmax(dim=1)
        best = probs.max(dim=1)
        return best.indices.tolist(), best.values.tolist()

    def loop(source: Path, columns: Sequence[str], output: Path) -> float:
        start = time.perf_counter()
        with source.open(newline="") as read, output.open("w", newline="") as write:
            writer = csv.writer(write)
            for number, texts in enumerate(_texts(csv.DictReader(read), columns)):
                pairs = zip(*answered(texts), strict=True)
                for row, (best, prob) in enumerate(pairs, start=number * ROWS):
                    writer.writerow([row, leaves[best], prob])
        return time.perf_counter() - start

    return loop


def _texts(rows: Iterator[dict], columns: Sequence[str]) -> Iterator[list[str]]:
    """Of a batch each."""
    joined = (" ; ".join(filter(None, (row[c] for c in columns))) for row in rows)
    while some := list(islice(joined, ROWS)):
        yield some
