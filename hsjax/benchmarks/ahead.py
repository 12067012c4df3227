"""What `bench compile` measures: a training step, compiled for machines elsewhere.

The compiler of TPUs (libtpu) needs no TPU. It says how many bytes and operations a step
takes on each device of a topology; how long a step takes it does not say.
"""

import importlib.util
import os
import time
from importlib.metadata import version

import jax
from jax.experimental import topologies

from hsjax.benchmarks.memory import bytes_per_device, sizes_of
from hsjax.data.examples import batch_spec
from hsjax.data.facts import LEAVES, LEVEL_DIGITS
from hsjax.data.nomenclature import load_taxonomy
from hsjax.models.build import build_model
from hsjax.models.placed import placed
from hsjax.settings.choices import check_choices
from hsjax.sharding import activation_placer, batch_shapes, replicated
from hsjax.taxonomy import Taxonomy
from hsjax.train.devices import training_mesh
from hsjax.train.objective import make_objective, training_metrics
from hsjax.train.plan import planned_state
from hsjax.train.start import training_step
from hsjax.train.step import Running
from hsjax.train.workdir import ConfigError

HERE = "here"
STEPS = 1000  # of the schedule, which changes no shape


def bench_ahead(config, topology: str) -> dict:
    """Bytes and operations of a config's training step on each device of a topology.

    No row is read: without `taxonomy.path` the tree is that of the built-in catalogue,
    and the vocabulary is as large as `data.text.vocab_size` allows.

    Args:
      topology: as libtpu names it, `v5e:2x4`, or `here` for this machine's devices.

    Raises:
      ConfigError: there is no libtpu, it does not know the topology, or the config does
        not fit it.
    """
    check_choices(config)
    devices = jax.devices() if topology == HERE else topology_devices(topology)
    mesh = training_mesh(config, devices)
    start = time.perf_counter()
    lowered, shapes = lowered_step(config, mesh)
    tracing, start = time.perf_counter() - start, time.perf_counter()
    compiled = lowered.compile()
    cost = compiled.cost_analysis() or {}
    found = {
        "topology": topology,
        "device": devices[0].device_kind,
        "devices": mesh.size,
        "mesh": dict(mesh.shape),
        "batch_size": config.data.batch_size,
        "parameters": sum(x.size for x in jax.tree.leaves(shapes.params)),
        "jax": jax.__version__,
        "libtpu": None if topology == HERE else version("libtpu"),
        "trace_seconds": tracing,
        "compile_seconds": time.perf_counter() - start,
        "flops_per_device": cost.get("flops"),
        "bytes_accessed_per_device": cost.get("bytes accessed"),
    }
    peak = getattr(compiled.memory_analysis(), "peak_memory_in_bytes", None)
    sizes = sizes_of(compiled) | {"together": bytes_per_device(compiled)}
    return found | {"bytes_per_device": sizes | {"peak": peak or None}}


def topology_devices(name: str) -> list:
    """Devices that nobody has, to compile for.

    Raises:
      ConfigError: there is no libtpu, or it knows no such topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(
            "bench compile needs the compiler of TPUs, not a TPU: pip install"
            " 'hsjax[tpu]', or the libtpu that `pip show jax` names; --topology=here"
            " compiles for the devices of this machine"
        )
    # nobody is asked whether this is a TPU machine
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    try:
        return list(topologies.get_topology_desc(name, "tpu").devices)
    except Exception as error:  # whatever libtpu raises at a name
        told = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"--topology={name}: {told}; such as v5e:2x4, v5p:2x2x2, v6e:4x4"
        ) from None


def lowered_step(config, mesh):
    """(the training step of a config, lowered for a mesh; shapes of its state)."""
    tree = built_in_tree(config)
    spec = batch_spec(config, tree)
    model = build_model(config, spec, tree, vocab_size=vocabulary_of(config))
    plan = planned_state(config, model, spec, mesh, steps=STEPS)
    objective = make_objective(
        config.objective, tree, tuple(config.model.modalities), mesh=mesh
    )
    model = placed(model, activation_placer(config.train.activations, mesh))
    step = training_step(config, model, objective, plan.optimizer, plan.shardings, mesh)
    running = jax.eval_shape(
        lambda: Running.empty(training_metrics(config.objective), seed=config.seed)
    )
    whole = jax.tree.map(lambda _: replicated(mesh), running)
    batch = batch_shapes(spec.shapes(config.data.batch_size), mesh)
    given = _lying(plan.shapes, plan.shardings), _lying(running, whole), batch
    return step.lower(*given), plan.shapes


def built_in_tree(config) -> Taxonomy:
    """The tree of `taxonomy.path`, or of the built-in catalogue."""
    if config.taxonomy.path:
        return load_taxonomy(config.taxonomy, separator=config.data.columns.separator)
    paths = [[x.code[:digits] for digits in LEVEL_DIGITS] for x in LEAVES]
    return Taxonomy.from_paths(paths)


def vocabulary_of(config) -> int:
    """Rows of the token table that `data.text.vocab_size` allows."""
    return -(-config.data.text.vocab_size // 8) * 8


def _lying(shapes, shardings):
    """Shapes with where they lie."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        shapes,
        shardings,
    )
