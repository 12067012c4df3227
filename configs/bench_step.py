"""A small text tower and a small ViT, for `bench step`: transformers has the same ones.

python -m hsjax.bench step --config=configs/bench_step.py

Texts and pictures are random numbers; sizes, batch and optimizer are those of here.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.batch_size = 32
    config.data.image.resize = (64, 64)
    config.data.image.size = (64, 64)
    config.model.joint_width = 256
    config.model.text.width = 256
    config.model.text.depth = 4
    config.model.text.mlp = 1024
    config.model.text.dropout = 0.0
    config.model.image.family = "vit"
    config.model.image.width = 256
    config.model.image.depth = 4
    config.model.image.mlp = 1024
    return config
