"""Myntra, published towers trained end to end, slower the farther from the heads.

--config.data.path=.../myntra.parquet --config.model.text.published=DIR
--config.model.image.published=DIR (MiniLM and ResNet-50, or any of their families)
Pictures keep Myntra's 4:3; data.image.resize and size = (0, 0) are the encoder's own.
"""

from ml_collections import ConfigDict

from configs.fashion import myntra

TOWER = r"(text|image)/.*"


def get_config() -> ConfigDict:
    config = myntra.get_config()
    config.data.text.word_drop = 0.0
    config.data.image.resize, config.data.image.size = (126, 94), (112, 84)
    config.model.text.bag = 0
    config.model.joint_width = config.model.head.width = 256
    config.optim.learning_rate = 1e-3  # of projections and head
    config.optim.layer_decay = 0.8
    no_decay, _, rest = config.optim.rules
    towers = ((TOWER + no_decay[0][2:], 0.05, False), (TOWER, 0.05, True))
    config.optim.rules = (*towers, no_decay, rest)
    config.train.epochs = 3.0
    return config
