"""Every family of published encoders is written back as it was published."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from encoders import path_of, published, write_bert, write_images
from goldens import CLIPS, IMAGES, TEXTS, read_golden, write_layout
from pairs import LOOK, build_pair
from runs import command, run_config, train_run
from safetensors import safe_open
from safetensors.numpy import save_file
from tiny import leaves
from transformers import AutoConfig

import hsjax
from hsjax.inference.published_export import export_published
from hsjax.models.dual_encoder import ALONE, write_encoder, write_pair
from hsjax.models.one_tower import families_of, tower_of
from hsjax.models.published_copy import write_copy
from hsjax.models.published_files import PublishedError, read_published
from hsjax.models.published_weights import load_parameters
from hsjax.train.workdir import write_config

FAMILIES = [*(("text", name) for name in TEXTS + CLIPS)]
FAMILIES += [("image", name) for name in IMAGES]
every_family = pytest.mark.parametrize(("side", "name"), FAMILIES)
UNKNOWN = ("vgg",)  # to transformers


def laid_out(name, folder, cast=np.float32, shards=1):
    """A golden as transformers writes a directory, with files beside the weights."""
    golden = read_golden(name)
    tensors = {
        key: x.astype(cast) if x.dtype == np.float32 else x
        for key, x in golden.tensors.items()
    }
    write_layout(folder, golden.config, tensors, shards)
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            own = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        save_file(own, path, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(golden.config, indent=4))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    return folder


def loaded(folder, side):
    model = read_published(folder)
    part = tower_of(model, side)
    family = families_of(side)[part.config["model_type"]]
    return model, load_parameters(family, part)


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@every_family
@pytest.mark.parametrize("shards", [1, 2])
def test_unchanged_it_is_the_same_to_the_last_byte(side, name, shards, tmp_path):
    source = laid_out(name, tmp_path / "before", shards=shards)
    model, parts = loaded(source, side)
    write_copy(tmp_path / "after", model, {side: parts})
    assert contents(tmp_path / "after") == contents(source)


@every_family
@pytest.mark.parametrize("cast", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_come_back_in_their_own_dtype(side, name, cast, tmp_path):
    source = laid_out(name, tmp_path / "before", cast=cast)
    model, parts = loaded(source, side)
    write_copy(tmp_path / "after", model, {side: parts})
    assert contents(tmp_path / "after") == contents(source)


@every_family
def test_what_was_trained_is_where_it_belongs(side, name, tmp_path):
    """What was read of the source and nothing else has changed, and comes back."""
    source = laid_out(name, tmp_path / "before")
    model, (settings, params, stats) = loaded(source, side)
    trained = jax.tree.map(lambda x: x + np.float32(0.5), (params, stats))
    write_copy(tmp_path / "after", model, {side: (settings, *trained)})
    again, (found, *parts) = loaded(tmp_path / "after", side)
    assert found == settings
    for mine, theirs in zip(parts, trained, strict=True):
        expected = leaves(theirs)
        assert leaves(mine).keys() == expected.keys()
        for key, value in leaves(mine).items():
            np.testing.assert_array_equal(value, expected[key], err_msg=key)
    assert {*again.tensors} == {*model.tensors}
    moved = {k for k in model.tensors if (again.tensors[k] != model.tensors[k]).any()}
    count = sum(np.size(x) for x in jax.tree.leaves((params, stats)))
    assert sum(model.tensors[k].size for k in moved) == count


@every_family
def test_written_anew_it_has_the_names_that_transformers_knows(side, name, tmp_path):
    """`hsjax.export` without its source: names of the base model, heads left out."""
    golden = read_golden(name)
    model, parts = loaded(laid_out(name, tmp_path / "before"), side)
    settings, params, stats = parts
    write_encoder(tmp_path / "after", side, model.config, params, stats)
    again, found = loaded(tmp_path / "after", side)
    assert found[0] == settings
    for mine, theirs in zip(found[1:], (params, stats), strict=True):
        for key, value in leaves(mine).items():
            np.testing.assert_array_equal(value, leaves(theirs)[key], err_msg=key)
    family = families_of(side)[model.config["model_type"]]
    known = {
        key[len(prefix) :] if key.startswith(prefix) else key
        for key in golden.tensors
        for prefix in family.prefixes or ("",)
    }
    assert {*again.tensors} <= known
    if name in UNKNOWN or name.startswith("vgg"):
        return
    before, after = (
        AutoConfig.from_pretrained(tmp_path / folder).to_dict()
        for folder in ("before", "after")
    )
    if before["model_type"] == "clip":  # a tower of its own now
        key = {"text": "text_config", "image": "vision_config"}[side]
        assert after["model_type"] == ALONE[side]
        before = before[key] | {"projection_dim": before["projection_dim"]}
    ours = {"architectures", "dtype", "transformers_version", "_name_or_path"}
    ours |= {"model_type", "pooler_act", "pooler_output_size"}
    for key in (before.keys() & after.keys()) - ours:
        assert after[key] == before[key], key


def test_both_towers_of_one_checkpoint_go_back_into_it(tmp_path):
    golden = read_golden("clip")
    source = write_layout(tmp_path / "before", golden.config, golden.tensors)
    model, text = loaded(source, "text")
    _, image = loaded(source, "image")
    write_copy(tmp_path / "after", model, {"text": text, "image": image})
    again = read_published(tmp_path / "after").tensors
    for name, tensor in golden.tensors.items():
        np.testing.assert_array_equal(again[name], tensor, err_msg=name)
    pair = build_pair("bert_vit", tmp_path / "pair")
    write_pair(tmp_path / "dual", pair.towers, scale=10.0, look=LOOK)
    model, text = loaded(tmp_path / "dual", "text")
    _, image = loaded(tmp_path / "dual", "image")
    write_copy(tmp_path / "again", model, {"text": text, "image": image})
    assert contents(tmp_path / "again") == contents(tmp_path / "dual")


def test_modules_behind_the_encoder_come_along(tmp_path):
    """As sentence-transformers has them: without one of them it would read nothing."""
    source = laid_out("bert", tmp_path / "before", shards=2)
    kinds = ("Transformer", "Pooling", "Dense", "Normalize")
    paths = ("", "1_Pooling", "2_Dense", "3_Normalize")
    pairs = enumerate(zip(kinds, paths, strict=True))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"a.models.{kind}"}
        for i, (kind, path) in pairs
    ]
    beside = {
        "modules.json": json.dumps(modules),
        "1_Pooling/config.json": '{"pooling_mode_mean_tokens": true}',
        "2_Dense/config.json": '{"in_features": 8}',
        "2_Dense/model.safetensors": "its weights",
        "more/templates/one.txt": "query: ",
    }
    others = {
        "onnx/config.json": "{}",
        "onnx/model.onnx": "weights",
        "openvino/openvino_model.bin": "weights",
        ".cache/huggingface/x.json": "{}",
        "more/model.bin": "weights",
    }
    for name, text in (beside | others).items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    (source / "3_Normalize").mkdir()
    model, parts = loaded(source, "text")
    out = source / "tuned"  # within it, and twice
    for _ in range(2):
        write_copy(out, model, {"text": parts})
    found = contents(out)
    assert all((out / path).is_dir() for path in paths)
    before = contents(source)
    kept = {k for k in before if k not in others and not k.startswith("tuned")}
    assert found == {name: before[name] for name in kept}
    assert beside.keys() < kept


def test_what_does_not_fit_the_source_is_refused(tmp_path):
    source = laid_out("vit", tmp_path / "before", cast=np.float16)
    model, (settings, params, stats) = loaded(source, "image")
    larger = params | {"position": np.zeros((50, params["position"].shape[1]))}
    with pytest.raises(PublishedError, match="saw pictures of another size"):
        write_copy(tmp_path / "out", model, {"image": (settings, larger, stats)})
    huge = jax.tree.map(lambda x: x + np.float32(1e6), params)
    with pytest.raises(PublishedError, match="float16, which cannot hold"):
        write_copy(tmp_path / "out", model, {"image": (settings, huge, stats)})
    assert not (tmp_path / "out").exists()


FEW = {"train.steps": 2, "train.eval_every": 2, "optim.schedule": "constant"}


@pytest.fixture(scope="module")
def own(shop, tmp_path_factory):
    """(run that trained its text tower and froze its image tower, their encoders)."""
    folder = tmp_path_factory.mktemp("own")
    bert, resnet = write_bert(folder / "bert", shop), write_images(folder / "resnet")
    config = published(shop, bert, resnet, **FEW).unlock()
    frozen = (r"image/.*", 0.0, False)
    config.optim.rules = (frozen, *config.optim.rules)
    train_run(config.lock(), folder / "run")
    return folder / "run", bert, resnet


def test_a_frozen_tower_is_exported_as_it_came(own, tmp_path):
    run, _, resnet = own
    (told,) = export_published(run, tmp_path / "out", modality="image")
    found = contents(tmp_path / "out")
    card = found.pop("README.md").decode()
    assert told in card
    kept = contents(resnet)
    tensors = {x: read_published(x).tensors for x in (resnet, tmp_path / "out")}
    for name, tensor in tensors[resnet].items():
        np.testing.assert_array_equal(tensors[tmp_path / "out"][name], tensor)
    for name in kept.keys() - {"model.safetensors"}:
        assert found[name] == kept[name]
    assert found.keys() == kept.keys()


def test_a_trained_tower_is_exported_into_its_own_layout(own, tmp_path):
    run, bert, _ = own
    flags = f"--run={run}", "--as_published", f"--output={tmp_path / 'out'}"
    process = command(*flags, "--tower=title", module="hsjax.export")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "names, dtypes and files are those of bert" in out
    _, (_, params, _) = loaded(tmp_path / "out", "text")
    expected = leaves(hsjax.load(run).params["text"])
    assert leaves(params).keys() == expected.keys()
    for key, value in leaves(params).items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)
    before, after = (read_published(x) for x in (bert, tmp_path / "out"))
    assert (bert / "tokenizer.json").read_bytes() == (
        tmp_path / "out" / "tokenizer.json"
    ).read_bytes()
    assert after.config == before.config
    assert {*after.tensors} == {*before.tensors}
    pooler = "pooler.dense.weight"
    np.testing.assert_array_equal(after.tensors[pooler], before.tensors[pooler])


def test_mistakes_end_in_sentences(own, shop, tmp_path):
    run, bert, resnet = own
    with pytest.raises(PublishedError, match=r"--tower=title exports one of them"):
        export_published(run, tmp_path / "out")
    with pytest.raises(PublishedError, match="take another --output"):
        export_published(run, resnet, modality="image")
    text = (bert / "config.json").read_text()
    (bert / "config.json").write_text(json.dumps(json.loads(text) | {"hidden": 1}))
    try:
        with pytest.raises(PublishedError, match="no longer the encoder that"):
            export_published(run, tmp_path / "out", modality="title")
    finally:
        (bert / "config.json").write_text(text)
    (tmp_path / "scratch").mkdir()
    write_config(run_config(path_of(shop)), tmp_path / "scratch")
    with pytest.raises(PublishedError, match="no tower of it began with"):
        export_published(tmp_path / "scratch", tmp_path / "out")
    assert not (tmp_path / "out").exists()
