"""ViT-B/16 at 224 and BERT-base at 64 tokens, on generated products: one large GPU.

python -m hsjax.bench choices --config=configs/scale/h200.py \\
  --vary=model.remat=none,dots --vary=model.scan=false,true \\
  --vary=model.attention=xla,cudnn --vary=data.batch_size=256,512 \\
  --steps=200 --trace=runs/h200/trace --output=runs/h200/choices.md
python -m hsjax.bench step --config=configs/scale/h200.py  # beside PyTorch
python -m hsjax.main --config=configs/scale/h200.py --workdir=runs/h200

What it measures is speed and memory: the pictures are small ones, enlarged. Not run yet
on a GPU.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.synthetic.products = 60_000
    config.data.columns.text = ("title", "brand")
    config.data.text.streams.title = ("title", "brand")
    config.data.text.length, config.data.text.vocab_size = 64, 30_000
    config.data.image.resize, config.data.image.size = (256, 256), (224, 224)
    config.data.image.cache = False
    config.data.batch_size, config.eval.batch_size = 512, 512
    config.data.threads = 12
    config.model.dtype, config.model.joint_width = "bfloat16", 512
    base_size = {"width": 768, "depth": 12, "heads": 12, "mlp": 3072}
    config.model.text.update({**base_size, "pool": "cls", "pre_norm": False})
    config.model.image.update({"family": "vit", "patch": 16, **base_size})
    config.optim.learning_rate = 1e-4
    config.train.steps, config.train.eval_every = 1000, 500
    return config
