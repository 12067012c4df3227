"""Mesh, rules, and placing of batches and parameters.

Sharding is data: (regex on a parameter's name -> mesh axis of each dimension), the
first match wins, and every parameter must match. Losses stay plain functions of the
global batch; XLA inserts the communication.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXES = ("data", "fsdp", "tensor")
BATCH = P(("data", "fsdp"))  # `tensor` splits layers, whose rows it shares

Rules = Sequence[tuple[str, tuple[str | None, ...]]]


def make_mesh(
    data: int = 0, fsdp: int = 1, tensor: int = 1, *, devices: Sequence | None = None
) -> Mesh:
    """Devices as (data, fsdp, tensor); data = 0 takes all that are left.

    Devices of a process lie side by side along `tensor` first, then along `fsdp`, where
    most is exchanged.

    Args:
      devices: None = all that jax has.

    Raises:
      ValueError: more devices are asked for than there are.
    """
    devices = jax.devices() if devices is None else devices
    available = len(devices)
    data = data or available // (fsdp * tensor)
    shape = data, fsdp, tensor
    if not 1 <= math.prod(shape) <= available:
        told = " x ".join(map(str, shape))
        raise ValueError(f"a mesh of {told} devices, but there are {available}")
    if math.prod(shape) < available:
        return Mesh(np.array(devices[: math.prod(shape)]).reshape(shape), AXES)
    axis_types = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh(shape, AXES, axis_types=axis_types, devices=devices)


def batch_pieces(mesh: Mesh) -> int:
    """Into how many pieces a batch is cut."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def process_rows(mesh: Mesh, rows: int) -> np.ndarray:
    """Which rows of a global batch this process's devices hold, ascending.

    The processes' rows partition the batch; those whose devices differ along `tensor`
    alone hold the same ones.
    """
    sharding = NamedSharding(mesh, BATCH)
    held = sharding.addressable_devices_indices_map((rows,)).values()
    starts = sorted({index[0].indices(rows)[:2] for index in held})
    return np.concatenate([np.arange(*piece) for piece in starts])


def parameter_names(tree) -> list[str]:
    """`text/layer0/qkv/kernel` for every leaf, in the order of `jax.tree.leaves`."""
    paths, _ = zip(*jax.tree.leaves_with_path(tree), strict=True) if tree else ((), ())
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]


def first_match(name: str, rules: Sequence[tuple]) -> tuple:
    """What follows the first regex that matches the whole name.

    Raises:
      ValueError: no rule covers the name.
    """
    for pattern, *rest in rules:
        if re.fullmatch(pattern, name):
            return tuple(rest)
    raise ValueError(
        f"no rule covers the parameter {name!r}; let the last rule be for '.*'"
    )


def parameter_specs(params, rules: Rules, mesh: Mesh | AbstractMesh):
    """A PartitionSpec per parameter, as a tree like `params`.

    A rule lists mesh axes for the *last* dimensions. A dimension that its axis does not
    divide stays whole: sharding must never change a shape.

    Raises:
      ValueError: a parameter that no rule covers.
    """

    def spec(name, leaf):
        (axes,) = first_match(name, rules)
        return P(*_fitting(axes, leaf.shape, mesh))

    leaves, structure = jax.tree.flatten(params)
    names = parameter_names(params)
    specs = [spec(n, leaf) for n, leaf in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(structure, specs)


def _fitting(
    axes: Sequence[str | None], shape: Sequence[int], mesh: Mesh | AbstractMesh
) -> list[str | None]:
    """An axis or None for each dimension, from axes of the last ones."""
    missing = len(shape) - len(axes)
    axes = (None,) * missing + tuple(axes[max(0, -missing) :])
    pairs = zip(axes, shape, strict=True)
    return [a if a and n % mesh.shape[a] == 0 else None for a, n in pairs]


def activation_placer(rules: Rules, mesh: Mesh) -> Callable | None:
    """`place(name, x)`: x as the first rule that matches its name has it lie.

    The first dimension is the batch, whose rows stay where they are; a rule lists mesh
    axes for the last of the others. What no rule matches, or is no batch, lies where
    XLA finds it best. None: there is one device, or no rule.
    """
    if mesh.size == 1 or not rules:
        return None

    def place(name, x):
        axes = next((axes for p, axes in rules if re.fullmatch(p, name)), None)
        if axes is None or x.ndim < 2 or x.shape[0] % batch_pieces(mesh):
            return x
        spec = P(*BATCH, *_fitting(axes, x.shape[1:], mesh))
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))

    return place


def state_specs(state, rules: Rules, mesh: Mesh):
    """Specs of a whole training state: moments and averages follow their parameter."""
    specs = parameter_specs(state.params, rules, mesh)
    names = parameter_names(state.params)
    is_spec = lambda x: isinstance(x, P)  # noqa: E731
    known = dict(zip(names, jax.tree.leaves(specs, is_leaf=is_spec), strict=True))

    def spec(name):
        # `opt_state/.../mu/text/layer0/qkv/kernel` ends with the name of its parameter
        parts = name.split("/")
        tails = ("/".join(parts[i:]) for i in range(len(parts)))
        return next((known[t] for t in tails if t in known), P())

    structure = jax.tree.structure(state)
    return jax.tree.unflatten(structure, [spec(n) for n in parameter_names(state)])


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def batch_shapes(
    shapes: Mapping[str, tuple[tuple[int, ...], type]], mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
    """What `place_batch` will make, to compile for it ahead of time.

    Args:
      shapes: name -> (shape, dtype) of a global batch.
    """
    sharding = NamedSharding(mesh, BATCH)
    return {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
        for name, (shape, dtype) in shapes.items()
    }


def place_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows as part of global arrays that are split over the mesh.

    Args:
      batch: the rows that `process_rows` names.
    """
    sharding = NamedSharding(mesh, BATCH)
    if jax.process_count() == 1:
        return jax.device_put(dict(batch), sharding)
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }


def jit_whole(function: Callable, mesh: Mesh) -> Callable:
    """Jitted; every one of several processes gets all rows of what it gives."""
    if jax.process_count() == 1:
        return jax.jit(function)
    return jax.jit(function, out_shardings=replicated(mesh))


def copied(tree, shardings):
    """The arrays in buffers of their own, which a step may be given to overwrite.

    What is put on a CPU may go on to share the memory of its numpy array.
    """
    copy = jax.jit(lambda x: jax.tree.map(jnp.copy, x), out_shardings=shardings)
    return copy(tree)
