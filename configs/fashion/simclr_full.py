"""SimCLR at the paper's size, for a GPU: ResNet-18, 224 pixels, batches of 1,024.

--config.data.path=.../myntra.parquet; larger pictures than Myntra's are better.
"""

from ml_collections import ConfigDict

from configs.fashion import simclr


def get_config() -> ConfigDict:
    config = simclr.get_config()
    config.data.image.resize, config.data.image.size = (256, 256), (224, 224)
    config.data.image.cache = False
    config.data.batch_size = 1024
    config.data.workers = 12
    config.model.dtype = "bfloat16"
    config.model.image.stem = "large"
    config.model.image.widths = (64, 128, 256, 512)
    config.objective.self_temperature = 0.1
    config.train.epochs = 200.0
    return config
