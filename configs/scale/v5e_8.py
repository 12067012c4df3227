"""ViT-B/16 and BERT-base on the eight chips of a TPU v5e 2x4.

launch/tpu_pod.sh NAME ZONE FOLDER -- --config=configs/scale/v5e_8.py --workdir=DIR

Rows and parameters, with their moments, are split over all eight (fsdp).
"""

from ml_collections import ConfigDict

from configs.scale import h200


def get_config() -> ConfigDict:
    config = h200.get_config()
    config.train.fsdp_devices = 8
    return config
