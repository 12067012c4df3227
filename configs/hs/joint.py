"""Paper A's proposed model at full size: BERT-base shape + ResNet-50 shape, InfoNCE.

--config.data.path=CATALOGUE, with columns title, specification, image and hs_code
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.path = ""  # to be given
    config.data.columns.text = ("title", "specification")
    config.data.columns.image, config.data.columns.label = "image", ("hs_code",)
    config.data.text.streams.title = ("title", "specification")
    config.data.text.length = 64
    config.data.text.vocab_size = 30000
    config.data.image.resize, config.data.image.size = (256, 256), (224, 224)
    config.data.image.cache = False
    config.data.batch_size, config.data.weighted_sampling = 256, 0.5
    config.model.dtype = "bfloat16"
    config.model.joint_width = 512
    bert = {"width": 768, "depth": 12, "heads": 12, "mlp": 3072, "pool": "cls"}
    config.model.text.update({**bert, "pre_norm": False})
    resnet50 = {"stem": "large", "block": "bottleneck", "stages": (3, 4, 6, 3)}
    config.model.image.update({**resnet50, "widths": (64, 128, 256, 512)})
    config.model.modality_dropout = 0.15
    config.optim.learning_rate = 1e-4
    config.train.monitor, config.train.patience = "loss", 5
    return config
