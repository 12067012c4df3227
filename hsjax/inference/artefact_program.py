"""The program of an artefact: raw texts and pictures in, probabilities out.

One pure function of parameters and inputs, so that `jax.export` can write it down:

    frozen encoders, where the run stands on features -> the run's model
    -> level logits / temperature of the level -> the answers of `make_answer`
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hsjax.artefact.document import CONFIDENCE, LEVEL, TEMPERATURE
from hsjax.batch import IMAGE
from hsjax.evaluation.answer import make_answer
from hsjax.expected_cost import COST
from hsjax.hierarchy import node_log_probs
from hsjax.inference.artefact_encoders import StoredEncoder, encoded
from hsjax.inference.predict import Run
from hsjax.models.build import Outputs
from hsjax.sharding import parameter_names
from hsjax.temperature import tempered


class Program(NamedTuple):
    """What is exported.

    Attributes:
      call: call(parameters by name, inputs) -> outputs by name.
      parameters: name -> array; inputs: name -> shape and dtype.
    """

    call: Callable
    parameters: Mapping[str, np.ndarray]
    inputs: Mapping[str, jax.ShapeDtypeStruct]


def make_program(
    run: Run,
    encoders: Mapping[str, StoredEncoder],
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    *,
    temperatures: int,
) -> Program:
    """The whole of a run.

    Args:
      encoders: modality -> what made the features that stand for it.
      inputs: raw modalities with `has_MODALITY`; temperature and confidence join them.
      temperatures: how many, see `tempered`.
    """
    variables = {
        "model": run.params,
        "stats": run.stats,
        "encoders": {m: x.variables for m, x in encoders.items()},
    }
    structure = jax.tree.structure(variables)
    names, leaves = parameter_names(variables), jax.tree.leaves(variables)

    def call(parameters: Mapping, inputs: Mapping) -> dict:
        found = jax.tree.unflatten(structure, [parameters[name] for name in names])
        params, stats = found["model"], found["stats"]
        batch = _batch(found["encoders"], encoders, inputs)
        outputs, _ = run.model.apply(params, stats, batch)
        logits = tempered(outputs.logits, run.tree, inputs[TEMPERATURE])
        outputs = outputs._replace(logits=tuple(logits))
        return _answers(run, outputs, batch, inputs[CONFIDENCE])

    own = {
        TEMPERATURE: jax.ShapeDtypeStruct((temperatures,), np.float32),
        CONFIDENCE: jax.ShapeDtypeStruct((), np.float32),
    }
    arrays = map(np.asarray, leaves)
    return Program(call, dict(zip(names, arrays, strict=True)), {**inputs, **own})


def _answers(run: Run, outputs: Outputs, batch: Mapping, confidence: jax.Array) -> dict:
    """What a run answers, by the names of `make_answer`, and (B, C) p(node) by id."""
    main = run.config.eval.decode
    answer = make_answer(
        lambda *_: (outputs, {}),
        run.tree,
        decodes=() if main == COST else (main,),
        main=main,
        topk=run.config.eval.topk,
        costs=run.costs if main == COST else None,
    )
    found = answer({}, {}, batch, confidence)
    del found["weight"]
    levels = zip(node_log_probs(outputs.logits, run.tree), run.tree.layout, strict=True)
    nodes = [jnp.exp(x)[:, layout.slots] for x, layout in levels]
    return found | {f"{LEVEL}/{k}": x for k, x in enumerate(nodes, 1)}


def _batch(variables: Mapping, encoders: Mapping, inputs: Mapping) -> dict:
    """As the model takes it: features in place of what an encoder reads."""
    batch = {k: v for k, v in inputs.items() if k not in (TEMPERATURE, CONFIDENCE)}
    rows = len(next(v for k, v in inputs.items() if k.startswith("has_")))
    batch["weight"] = jnp.ones(rows, jnp.float32)
    for modality, encoder in encoders.items():
        raw = [batch.pop(IMAGE)] if modality == IMAGE else _tokens(batch, modality)
        here = batch[f"has_{modality}"]
        features, mask = encoded(encoder, variables[modality], here, *raw)
        batch[f"{modality}_features"] = features
        if mask is not None:
            batch[f"{modality}_mask"] = mask
    return batch


def _tokens(batch: dict, stream: str) -> list:
    return [batch.pop(f"{stream}_ids"), batch.pop(f"{stream}_mask")]
