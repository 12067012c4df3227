"""SimCLR on Myntra's pictures, without a label: a narrow ResNet-18 at 48 pixels.

--config.data.path=.../myntra.parquet --config.data.image.augment=low | middle | high
Footwear alone: --config.data.leave_out="('Accessories', 'Apparel', ...)", see
simclr_strengths.jsonl. Afterwards python -m hsjax.export --tower=image gives an encoder
for --config.task=extract, and so features for any head or baseline. Full size:
simclr_full.py.

What the features are worth, linear probe and 20 nearest neighbours: train the three of
simclr_strengths.jsonl with --root=runs/simclr, and for each of them, such as low,

python -m hsjax.export --run=runs/simclr/low --tower=image --output=encoders/simclr_low
python -m hsjax.main --config=configs/fashion/simclr.py --config.data.path=...
    --config.task=extract --config.extract.modality=image
    --config.extract.encoder=encoders/simclr_low --workdir=features/simclr_low

then python launch/sweep.py --runs=configs/fashion/simclr_probe.jsonl --root=runs/probe
    --set=data.path=... --launcher=local --table=probe
"""

from ml_collections import ConfigDict

from configs.fashion import myntra


def get_config() -> ConfigDict:
    config = myntra.get_config()
    config.model.modalities = ("image",)
    config.data.image.resize, config.data.image.size = (64, 48), (48, 48)
    config.data.image.views, config.data.image.augment = 2, "middle"
    config.data.batch_size = 256
    config.model.image.stages = (2, 2, 2, 2)
    config.model.image.widths = (24, 48, 96, 192)
    config.model.modality_dropout = 0.0
    config.objective.classification = config.objective.contrastive = 0.0
    config.objective.self_supervised = 1.0
    config.optim.learning_rate = 1e-3
    no_decay, _, rest = config.optim.rules
    config.optim.rules = (no_decay, rest)
    config.train.epochs = 40.0
    config.train.ema = 0.0
    config.train.monitor = "loss"
    return config
