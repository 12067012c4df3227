"""A trained run -> the folder of an artefact; `hsjax.artefact` reads it."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import jax
from jax import export

from hsjax.artefact.document import (
    CALIBRATION,
    NAME,
    PARAMETERS,
    PROGRAM,
    TAXONOMY,
    Document,
    as_json,
)
from hsjax.atomic import file_hash, finished, write_atomically
from hsjax.data.quarantine import CatalogueError
from hsjax.inference.artefact_encoders import stored_encoders
from hsjax.inference.artefact_inputs import (
    input_shapes,
    picture_input,
    text_inputs,
)
from hsjax.inference.artefact_program import Program, make_program
from hsjax.inference.calibration import kept_calibration
from hsjax.inference.export_folder import check_free
from hsjax.inference.parameters import parameters_hash
from hsjax.inference.predict import Run, load_run
from hsjax.models.attention import for_any_device
from hsjax.models.published_files import write_tensors
from hsjax.train.environment import environment

PLATFORMS = ("cpu", "cuda", "tpu")


def export_artefact(
    workdir: Path,
    output: Path,
    *,
    rows: int = 0,
    features: Mapping[str, Path | str] = MappingProxyType({}),
) -> list[str]:
    """Writes the artefact of a run; artefact.json last, so that it is whole with it.

    Args:
      rows: of a batch, which is always full: 1 for a service that answers one product
        at a time; 0 = eval.batch_size.
      features: modality -> folder, of feature stores that have moved.

    Returns:
      What a reader of the folder has to know, a sentence each.

    Raises:
      PublishedError: `output` holds something else.
      CatalogueError, WorkdirError: there is no such run, its head was never trained,
        or its features' encoder is not at hand.
    """
    check_free(output, NAME, PROGRAM)
    run = _with_classes(load_run(workdir, features=features), workdir)
    temperature = _temperature(workdir, run)
    encoders = stored_encoders(run.config, workdir)
    texts, picture = text_inputs(run, encoders), picture_input(run, encoders)
    rows = rows or run.config.eval.batch_size
    shapes = input_shapes(rows, texts, picture)
    program = make_program(run, encoders, shapes, temperatures=len(temperature))
    exported, told = _lowered(program)
    names = _write(output, workdir, run, program, exported)
    names += _write_tokenizers(output, texts, encoders, run)
    document = Document(
        run={"name": workdir.resolve().name, "step": run.step},
        versions=environment(),
        platforms=exported.platforms,
        rows=rows,
        texts=texts,
        picture=picture,
        inputs=_described(program.inputs),
        outputs=_described(jax.tree.unflatten(exported.out_tree, exported.out_avals)),
        main=run.config.eval.decode,
        temperature=temperature,
        taxonomy=run.tree.hash,
        parameters=parameters_hash(program.parameters),
        files={name: file_hash(output / name) for name in sorted(names)},
    )
    write_atomically(output / NAME, as_json(document))
    return told


def _with_classes(run: Run, workdir: Path) -> Run:
    if run.config.objective.classification:
        return run
    raise CatalogueError(
        f"{workdir} has objective.classification=0, so that its head was never trained:"
        " an artefact answers with classes; without --artefact its encoders are"
        " exported"
    )


def _lowered(program: Program) -> tuple[export.Exported, list[str]]:
    """For all platforms, or for the CPU alone where the model does not lower."""
    shapes = {
        k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in program.parameters.items()
    }
    call = jax.jit(program.call)
    try:
        with for_any_device():
            return export.export(call, platforms=PLATFORMS)(shapes, program.inputs), []
    except Exception as error:  # of whatever a platform has no lowering for
        why = (str(error).splitlines() or [type(error).__name__])[0]
    with for_any_device():
        found = export.export(call, platforms=("cpu",))(shapes, program.inputs)
    return found, [f"for the CPU alone, as not all of it lowers elsewhere: {why}"]


def _write(output: Path, workdir: Path, run: Run, program: Program, exported) -> list:
    """Program, parameters, tree and calibration; their names."""
    output.mkdir(parents=True, exist_ok=True)
    (output / NAME).unlink(missing_ok=True)  # of an earlier one: the parts are new
    with finished(output / PROGRAM) as partial:
        partial.write_bytes(exported.serialize())
    write_tensors(output / PARAMETERS, program.parameters)
    run.tree.save(output / TAXONOMY)
    names = [PROGRAM, PARAMETERS, TAXONOMY]
    (output / CALIBRATION).unlink(missing_ok=True)
    if (workdir / CALIBRATION).is_file():
        with finished(output / CALIBRATION) as partial:
            shutil.copyfile(workdir / CALIBRATION, partial)
        names.append(CALIBRATION)
    return names


def _write_tokenizers(output: Path, texts, encoders, run: Run) -> list[str]:
    names = {text.tokenizer: stream for stream, text in texts.items()}
    for name, stream in names.items():
        found = encoders[stream].tokenizer if stream in encoders else run.tokenizer
        write_atomically(output / name, found.to_str())
    return list(names)


def _temperature(workdir: Path, run: Run) -> tuple[float, ...]:
    """Of each level, by the run's own calibration; 1 without one: no bit changes."""
    known = kept_calibration(workdir, "", run.step, (run.params, run.stats))
    if known is None:
        return (1.0,) * run.tree.num_levels
    if known.maps:
        raise CatalogueError(
            f"{workdir / CALIBRATION} has isotonic maps, and an artefact holds"
            " temperatures alone: calibrate by --kind=temperature"
        )
    return known.temperature


def _described(arrays: Mapping) -> dict[str, list]:
    """Name -> [shape, dtype]."""
    return {k: [list(x.shape), str(x.dtype)] for k, x in sorted(arrays.items())}
