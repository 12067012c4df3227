"""What `bench choices` measures: one training step under every choice of some settings.

Loader included: batches come as in training, the next one on its way while the device
is at work. Each choice is compiled anew, so that its memory and time are its own.
"""

import contextlib
import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from hsjax.benchmarks.memory import bytes_per_device
from hsjax.data.examples import Examples
from hsjax.data.prepare import Catalogue, read_catalogue
from hsjax.evaluation.markdown import table
from hsjax.settings.choices import check_choices
from hsjax.sharding import place_batch
from hsjax.train.devices import set_up_jax, training_mesh
from hsjax.train.programs import StepPrograms, batches_from
from hsjax.train.speed import speed, step_flops
from hsjax.train.start import training_order
from hsjax.train.workdir import ConfigError
from hsjax.trained.opening import resolved
from hsjax.trained.timed_step import make_timed_step
from hsjax.trained.training_data import training_parts

WARM = 3  # steps before the clock starts
TRACED = 5  # steps of a profile
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
# of the data group, those that the catalogue does not hang on
FREE = ("data.batch_size", "data.text.buckets", "data.threads", "data.prefetch")
HEAD = ("choice", "pairs/s", "p50 ms", "p99 ms", "compile s", "GiB", "MFU %")
HEAD += ("loading %",)


def bench_choices(
    config, vary: Mapping[str, Sequence[Any]], *, steps: int, trace: str = ""
) -> dict:
    """A line for each combination: rates, step times, compile time, bytes, MFU.

    Args:
      vary: dotted key -> its values.
      steps: that are timed of each.
      trace: folder for a profile of a few steps of the fastest choice; '' = none.

    Raises:
      ConfigError: an unknown key or value, or one that changes the catalogue.
      CatalogueError: whatever a user can mend, in words.
    """
    chosen = {told: resolved(c) for told, c in _configs(config, vary)}
    config, encoders = resolved(config)
    set_up_jax(config)
    published = encoders["text"].directory if "text" in encoders else None
    catalogue = read_catalogue(config, published=published)
    examples = training_parts(config, catalogue).train
    found = {}
    for told, choice in tqdm(chosen.items(), desc="choices", disable=None):
        try:
            found[told] = _measured(*choice, catalogue, examples, steps)
        except jax.errors.JaxRuntimeError as error:
            if OUT_OF_MEMORY not in str(error):
                raise
            found[told] = {"out_of_memory": str(error).splitlines()[0][:200]}
    rates = {told: x.get("pairs_per_second", 0.0) for told, x in found.items()}
    best = max(rates, key=rates.get)
    if trace and rates[best]:
        _measured(*chosen[best], catalogue, examples, TRACED, trace=trace)
    device = jax.devices()[0].device_kind
    facts = {"device": device, "devices": len(jax.devices()), "jax": jax.__version__}
    return {**facts, "steps": steps, "best": best, "trace": trace, "choices": found}


def read_vary(given: Sequence[str]) -> dict[str, list]:
    """KEY=VALUE,VALUE as key -> values, of the types that JSON gives them.

    >>> read_vary(["model.scan=true,false", "data.text.buckets=(32,64),()"])
    {'model.scan': [True, False], 'data.text.buckets': [(32, 64), ()]}

    Raises:
      ConfigError: a word that is none.
    """
    found = {}
    for word in given:
        key, _, values = word.partition("=")
        if not values:
            raise ConfigError(f"--vary={word}: KEY=VALUE,VALUE")
        found[key] = [_value(value) for value in re.split(r",(?![^([]*[)\]])", values)]
    return found


def _value(text: str) -> Any:
    try:
        found = json.loads(text.lower().replace("(", "[").replace(")", "]"))
    except ValueError:
        return text
    return tuple(found) if isinstance(found, list) else found


def _configs(config, vary: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, Any]]:
    """(what is told of it, config) of every combination; all are checked at once."""
    for values in itertools.product(*vary.values()):
        chosen = dict(zip(vary, values, strict=True))
        copy = config.copy_and_resolve_references().lock()
        for key, value in chosen.items():
            if key.startswith("data.") and key not in FREE:
                raise ConfigError(
                    f"--vary={key}: the catalogue is read once; of its group"
                    f" {', '.join(FREE)} may change"
                )
            _set(copy, key, value)
        check_choices(copy)
        told = ", ".join(f"{k.split('.')[-1]}={v}" for k, v in chosen.items())
        yield told or "as it is", copy


def _set(config: ConfigDict, key: str, value: Any) -> None:
    """Raises ConfigError: there is no such key, or it is of another type."""
    try:
        config.update_from_flattened_dict({key: value})
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"--vary={key}: {error}") from None


def _measured(
    config, encoders, catalogue: Catalogue, examples: Examples, steps: int, trace=""
) -> dict:
    mesh = training_mesh(config)
    timed = make_timed_step(config, catalogue, encoders, mesh)
    state, running, start = timed.state, timed.running, time.perf_counter()
    flops = step_flops(config, timed.model, timed.shardings.params)
    asked = {"spec": catalogue.spec, "mesh": mesh, "flops": flops}
    programs = StepPrograms(config, timed.step, state, running, **asked)
    compiling = time.perf_counter() - start
    batches = batches_from(config, training_order(config, examples, mesh), 0)
    profile = jax.profiler.trace(trace) if trace else contextlib.nullcontext()
    times, waited = [], 0.0
    batch = place_batch(next(batches), mesh)
    with profile:
        for number in range(-WARM, steps):
            if number == 0:
                waited, last = 0.0, time.perf_counter()
                programs.work()
            state, running = programs(state, running, batch)
            asking = time.perf_counter()
            batch = place_batch(next(batches), mesh)  # the device is at work
            waited += time.perf_counter() - asking
            jax.block_until_ready(running)
            if number >= 0:
                times.append(time.perf_counter() - last)
                last += times[-1]
    seconds = float(np.sum(times))
    middle, late = np.percentile(times, [50, 99]).tolist()
    return {
        "pairs_per_second": steps * config.data.batch_size / seconds,
        "step_p50": middle,
        "step_p99": late,
        "compile_seconds": compiling,
        "input_seconds_per_step": waited / steps,
        **speed(programs.work(), seconds, mesh),
        "bytes_per_device": max(map(bytes_per_device, programs.compiled)),
    }


def choices_markdown(result: Mapping) -> str:
    """The table of a result, and what its figures mean."""
    lines = []
    for told, x in result["choices"].items():
        if "out_of_memory" in x:
            lines.append([told, "out of memory", *[""] * (len(HEAD) - 2)])
            continue
        share = 100 * x["input_seconds_per_step"] / x["step_p50"]
        line = [told, x["pairs_per_second"], 1e3 * x["step_p50"], 1e3 * x["step_p99"]]
        line += [x["compile_seconds"], x["bytes_per_device"] / 2**30]
        line += [100 * x["mfu"] if "mfu" in x else None, share]
        lines.append(line)
    told = (
        f"{result['device']} x {result['devices']}, jax {result['jax']},"
        f" {result['steps']} steps each, loader included. GiB: what the compiled step"
        " holds on a device, state and temporaries together. MFU: of the dense"
        " bfloat16 peak, '' where that is not known. Loading: the time in which the"
        " host makes the next batch ready, most of which the device is at work."
    )
    noisy = " **Noisy**: other work disturbed." if result.get("noisy") else ""
    return f"# Choices\n\n{table(HEAD, lines)}\n\n{told}{noisy}\n"
