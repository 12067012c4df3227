"""Mesh, rules, and placing of batches and parameters.

Sharding is data: (regex on a parameter's name -> mesh axis of each dimension), the
first match wins, and every parameter must match. Losses stay plain functions of the
global batch; XLA inserts the communication.
"""

import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXES = ("data", "fsdp")
BATCH = P(AXES)  # a batch is split over all devices

Rules = Sequence[tuple[str, tuple[str | None, ...]]]


def make_mesh(data: int = 0, fsdp: int = 1) -> Mesh:
    """Devices as (data, fsdp); data = 0 takes all that are left.

    Raises:
      ValueError: more devices are asked for than there are.
    """
    available = jax.device_count()
    data = data or available // fsdp
    if not 1 <= data * fsdp <= available:
        raise ValueError(
            f"a mesh of {data} x {fsdp} devices, but there are {available}"
        )
    if data * fsdp < available:
        devices = np.array(jax.devices()[: data * fsdp]).reshape(data, fsdp)
        return Mesh(devices, AXES)
    return jax.make_mesh((data, fsdp), AXES, axis_types=(AxisType.Auto,) * 2)


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


def parameter_specs(params, rules: Rules, mesh: Mesh):
    """A PartitionSpec per parameter, as a tree like `params`.

    A rule lists mesh axes for the *last* dimensions. A dimension that its axis does not
    divide stays whole: sharding must never change a shape.

    Raises:
      ValueError: a parameter that no rule covers.
    """

    def spec(name, leaf):
        (axes,) = first_match(name, rules)
        axes = (None,) * (leaf.ndim - len(axes)) + tuple(
            axes[-leaf.ndim :] if leaf.ndim else ()
        )
        fits = [
            a and n % mesh.shape[a] == 0 for a, n in zip(axes, leaf.shape, strict=True)
        ]
        return P(*(a if f else None for a, f in zip(axes, fits, strict=True)))

    leaves, structure = jax.tree.flatten(params)
    names = parameter_names(params)
    specs = [spec(n, leaf) for n, leaf in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(structure, specs)


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
    """This process's rows as part of global arrays that are split over the mesh."""
    sharding = NamedSharding(mesh, BATCH)
    if jax.process_count() == 1:
        return jax.device_put(dict(batch), sharding)
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }


def copied(tree, shardings):
    """The arrays in buffers of their own, which a step may be given to overwrite.

    What is put on a CPU may go on to share the memory of its numpy array.
    """
    copy = jax.jit(lambda x: jax.tree.map(jnp.copy, x), out_shardings=shardings)
    return copy(tree)
