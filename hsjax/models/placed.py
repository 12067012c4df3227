"""Where on the devices the activations of a model lie."""

from collections.abc import Callable

import flax.linen as nn
import jax

from hsjax.models.build import Model


def placed(model: Model, place: Callable[[str, jax.Array], jax.Array] | None) -> Model:
    """The model with `place(name, array)` of all that its modules give.

    A name is that of the module's parameters: `text/layer0/mlp_in`. None = as it is.
    """
    if place is None:
        return model

    def intercept(call, args, kwargs, context):
        given = call(*args, **kwargs)
        if context.method_name != "__call__":
            return given
        name = "/".join(context.module.path)
        return jax.tree.map(lambda x: place(name, x), given)

    def apply(*args, **kwargs):
        with nn.intercept_methods(intercept):
            return model.apply(*args, **kwargs)

    return model._replace(apply=apply)
