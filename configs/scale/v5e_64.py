"""ViT-L/16 and BERT-large on TPU v5e 8x8: data 4 x fsdp 8 x tensor 2.

launch/tpu_pod.sh NAME ZONE FOLDER -- --config=configs/scale/v5e_64.py --workdir=DIR
"""

from ml_collections import ConfigDict

from configs.scale import h200


def get_config() -> ConfigDict:
    config = h200.get_config()
    large = {"width": 1024, "depth": 24, "heads": 16, "mlp": 4096}
    config.model.text.update(large)
    config.model.image.update(large)
    config.data.batch_size, config.eval.batch_size = 4096, 4096
    config.objective.contrastive_form = "ring"
    config.train.fsdp_devices, config.train.tensor_devices = 8, 2
    return config
