"""Checkpoints: read from every layout, written back equal, refused in one sentence."""

import json
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from goldens import CLIPS, TEXTS, read_golden, write_layout, written_back
from huggingface_hub import constants
from safetensors import safe_open
from tiny import bitwise_equal

from hsjax.models.published_files import PublishedError, read_published
from hsjax.models.published_weights import (
    find_family,
    load_parameters,
    to_tensors,
)
from hsjax.models.text_families import TEXT_FAMILIES

TABLE = "embeddings.word_embeddings.weight"
QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.fixture(scope="module")
def bert():
    return read_golden("bert")


def load(directory):
    checkpoint = read_published(directory)
    return load_parameters(find_family(checkpoint, TEXT_FAMILIES), checkpoint)


def refusal(directory, config, tensors) -> str:
    return sentence(write_layout(directory, config, tensors))


def sentence(directory) -> str:
    """What a directory is refused with: one line."""
    with pytest.raises(PublishedError) as caught:
        load(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(tensors, expected):
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensors[name].dtype == tensor.dtype, name
        assert tensors[name].tobytes() == tensor.tobytes(), name


@pytest.mark.parametrize("name", TEXTS + CLIPS)
def test_writing_what_was_read_is_a_round_trip(name, tmp_path):
    golden = read_golden(name)
    checkpoint = read_published(write_layout(tmp_path, golden.config, golden.tensors))
    family = find_family(checkpoint, TEXT_FAMILIES)
    settings, params, stats = load_parameters(family, checkpoint)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(params))
    again = written_back(golden.tensors, family, settings, params, stats)
    same(again, golden.tensors)


def test_other_parameters_are_written_where_they_belong(bert, tmp_path):
    checkpoint = read_published(write_layout(tmp_path, bert.config, bert.tensors))
    family = find_family(checkpoint, TEXT_FAMILIES)
    settings, params, stats = load_parameters(family, checkpoint)
    trained = jax.tree.map(lambda x: x + np.float32(1), params)
    expected = {
        name: tensor if name.startswith("pooler") else tensor + np.float32(1)
        for name, tensor in bert.tensors.items()
    }
    same(written_back(bert.tensors, family, settings, trained, stats), expected)


@pytest.mark.parametrize("shards", [2, 3])
def test_many_files_are_as_good_as_one(bert, tmp_path, shards):
    one = write_layout(tmp_path / "one", bert.config, bert.tensors)
    many = write_layout(tmp_path / "many", bert.config, bert.tensors, shards)
    assert bitwise_equal(load(one)[1], load(many)[1])


def test_a_family_is_written_without_a_source(bert, tmp_path):
    settings, params, _ = load(write_layout(tmp_path, bert.config, bert.tensors))
    tensors = to_tensors(TEXT_FAMILIES["bert"], settings, params, {})
    same(tensors, {k: v for k, v in bert.tensors.items() if "pooler" not in k})


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_are_cast(bert, tmp_path, kind):
    tensors = {name: x.astype(kind) for name, x in bert.tensors.items()}
    config = bert.config | {"dtype": "float16"}
    checkpoint = read_published(write_layout(tmp_path / "a", config, tensors))
    family = find_family(checkpoint, TEXT_FAMILIES)
    settings, params, stats = load_parameters(family, checkpoint)
    np.testing.assert_array_equal(
        params["token_embedding"], tensors[TABLE].astype(np.float32)
    )
    assert params["token_embedding"].dtype == np.float32
    again = written_back(bert.tensors, family, settings, params, stats)
    assert {x.dtype for x in again.values()} == {np.dtype(np.float32)}


def test_names_of_the_first_checkpoints_are_known(bert, tmp_path):
    def old(name):
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return "bert." + name.replace("LayerNorm.bias", "LayerNorm.beta")

    tensors = {old(name): x for name, x in bert.tensors.items()}
    tensors["cls.predictions.bias"] = np.zeros(3, np.float32)
    tensors["bert.embeddings.position_ids"] = np.arange(13)[None]
    new = write_layout(tmp_path / "new", bert.config, bert.tensors)
    first = write_layout(tmp_path / "old", bert.config, tensors)
    assert bitwise_equal(load(first)[1], load(new)[1])


def test_a_truncated_file_is_refused(bert, tmp_path):
    directory = write_layout(tmp_path / "one", bert.config, bert.tensors)
    file = directory / "model.safetensors"
    whole = file.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert "model.safetensors is truncated" in sentence(directory)
    many = write_layout(tmp_path / "many", bert.config, bert.tensors, 2)
    part = many / "model-00002-of-00002.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    assert f"{part} is truncated" in sentence(many)


def test_missing_and_renamed_tensors_are_refused_with_both_lists(bert, tmp_path):
    tensors = dict(bert.tensors)
    tensors["encoder.layer.1.attention.self.q.weight"] = tensors.pop(QUERY)
    del tensors[TABLE]
    said = refusal(tmp_path / "a", bert.config, tensors)
    assert f"lacks [{TABLE}, {QUERY}]" in said
    assert "used by nothing, [encoder.layer.1.attention.self.q.weight]" in said
    deeper = bert.config | {"num_hidden_layers": 3}
    said = refusal(tmp_path / "b", deeper, bert.tensors)
    assert "lacks [encoder.layer.2.attention.output.LayerNorm.bias," in said
    assert "and 12 more] and has, used by nothing, []" in said
    shallower = bert.config | {"num_hidden_layers": 1}
    said = refusal(tmp_path / "c", shallower, bert.tensors)
    assert "lacks [] and has, used by nothing, [encoder.layer.1." in said
    twice = {**bert.tensors, f"bert.{TABLE}": bert.tensors[TABLE]}
    assert f"are both {TABLE}" in refusal(tmp_path / "d", bert.config, twice)


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize(
    ("value", "kind"),
    [(np.nan, np.float32), (-np.inf, ml_dtypes.bfloat16), (1e300, np.float64)],
)
def test_a_weight_that_is_not_finite_is_refused(bert, tmp_path, value, kind, shards):
    query = bert.tensors[QUERY].astype(kind)
    query[3, 4] = query[5, 6] = value
    tensors = {**bert.tensors, QUERY: query}
    directory = write_layout(tmp_path, bert.config, tensors, shards)
    (file,) = {
        path
        for path in directory.glob("*.safetensors")
        if QUERY in set(safe_open(path, framework="np").keys())
    }
    assert f"{QUERY} of {file}: 2 of its 484 values are not finite" in sentence(
        directory
    )


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.bool_])
def test_integers_are_refused(bert, tmp_path, kind):
    tensors = {**bert.tensors, QUERY: bert.tensors[QUERY].astype(kind)}
    said = refusal(tmp_path, bert.config, tensors)
    assert f"{QUERY} is " in said
    assert "not floating point" in said


def test_a_config_that_disagrees_with_shapes_is_refused(bert, tmp_path):
    changes = {
        "vocab_size": (31, f"{TABLE} is (29, 22), config.json says (31, 22)"),
        "hidden_size": (24, "is (29, 22), config.json says (29, 24)"),
        "intermediate_size": (30, "is (31, 22), config.json says (30, 22)"),
        "type_vocab_size": (1, "is (2, 22), config.json says (1, 22)"),
    }
    for key, (value, expected) in changes.items():
        config = bert.config | {key: value}
        assert expected in refusal(tmp_path / key, config, bert.tensors)
    turned = {**bert.tensors, QUERY: bert.tensors[QUERY].reshape(11, 44)}
    said = refusal(tmp_path / "turned", bert.config, turned)
    assert f"{QUERY} is (11, 44), config.json says (22, 22)" in said


def test_an_option_that_we_lack_is_refused(bert, tmp_path):
    changes = {
        "hidden_act": ("mish", "hidden_act is 'mish'; known: gelu"),
        "position_embedding_type": ("relative_key", "only absolute"),
        "is_decoder": (True, "only encoders"),
        "num_attention_heads": (3, "hidden_size 22 is no multiple of"),
        "intermediate_size": ("many", "intermediate_size is 'many'"),
        "model_type": ("gpt2", "model_type is 'gpt2'; known: bert, roberta"),
    }
    for key, (value, expected) in changes.items():
        config = bert.config | {key: value}
        assert expected in refusal(tmp_path / key, config, bert.tensors)
    config = {k: v for k, v in bert.config.items() if k != "hidden_size"}
    said = refusal(tmp_path / "lacks", config, bert.tensors)
    assert "config.json lacks hidden_size" in said
    albert = read_golden("albert")
    config = albert.config | {"inner_group_num": 2}
    assert "inner_group_num is 2" in refusal(tmp_path / "al", config, albert.tensors)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "last.ckpt"])
def test_a_pickle_is_refused_and_never_opened(bert, tmp_path, file):
    write_layout(tmp_path, bert.config, bert.tensors)
    (tmp_path / "model.safetensors").rename(tmp_path / file)
    said = sentence(tmp_path)
    assert f"only as a pickle ({file})" in said
    assert "save_pretrained" in said
    assert f"{file} is a pickle" in sentence(tmp_path / file)


def test_what_is_no_model_is_refused(bert, tmp_path):
    directory = write_layout(tmp_path / "a", bert.config, bert.tensors)
    assert "give the directory" in sentence(directory / "model.safetensors")
    (directory / "config.json").write_text("{")
    assert "config.json is no JSON" in sentence(directory)
    (directory / "config.json").write_text("[]")
    assert "config.json is no JSON object" in sentence(directory)
    (directory / "config.json").unlink()
    assert "has no config.json" in sentence(directory)
    empty = write_layout(tmp_path / "b", bert.config, bert.tensors)
    (empty / "model.safetensors").unlink()
    assert "has neither model.safetensors" in sentence(empty)
    assert "no such directory" in sentence(tmp_path / "nowhere" / "at" / "all")


def test_an_index_that_lies_is_refused(bert, tmp_path):
    directory = write_layout(tmp_path / "a", bert.config, bert.tensors, 2)
    path = directory / "model.safetensors.index.json"
    index = json.loads(path.read_text())

    def with_map(**changes):
        path.write_text(json.dumps({"weight_map": index["weight_map"] | changes}))
        return sentence(directory)

    first = index["weight_map"][TABLE]
    (other,) = set(index["weight_map"].values()) - {first}
    assert "model-9.safetensors, which is not there" in with_map(
        x="model-9.safetensors"
    )
    outside = shutil.copy(directory / first, tmp_path)
    assert "which is not there" in with_map(x=outside)
    assert "which is not there" in with_map(x=f"../{first}")
    assert f"disagree about {TABLE}" in with_map(**{TABLE: other})
    path.write_text("{}")
    assert "has no weight_map" in sentence(directory)


def cached(folder, golden, name="org/tiny", commit="0" * 40):
    """A hub's cache that holds one model."""
    place = folder / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    write_layout(place / "snapshots" / commit, golden.config, golden.tensors)


def test_a_hub_name_is_read_from_the_cache(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cached(tmp_path / "hub", bert)
    here = write_layout(tmp_path / "here", bert.config, bert.tensors)
    for name in ("org/tiny", f"org/tiny@{'0' * 40}"):
        assert bitwise_equal(load(name)[1], load(here)[1])
    for offline in (True, False):  # HF_HUB_OFFLINE is set in all tests
        with pytest.raises(PublishedError) as caught:
            read_published("org/unknown", offline=offline)
        said = str(caught.value)
        assert "not in the hub's cache, and offline" in said
        assert "hf download org/unknown" in said
    for name in ("a/b/c", "../x", "org/na me"):
        assert "no such directory" in sentence(name)


def test_a_network_that_fails_is_told(monkeypatch):
    """By whatever error the hub's client passes on."""

    class NoRoute(Exception):
        pass

    def fails(*_, **__):
        raise NoRoute("[Errno 101] no route\nto the host")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    said = sentence("org/tiny")
    assert "as a hub name: [Errno 101] no route. Run `hf download org/tiny`" in said


def test_the_preprocessor_is_read_where_it_is(bert, tmp_path):
    directory = write_layout(tmp_path, bert.config, bert.tensors)
    assert read_published(directory).preprocessor is None
    facts = {"image_mean": [0.5, 0.5, 0.5], "size": {"height": 8, "width": 8}}
    (directory / "preprocessor_config.json").write_text(json.dumps(facts))
    assert read_published(directory).preprocessor == facts


def test_tensors_are_lazy_and_counted(bert, tmp_path):
    tensors = read_published(write_layout(tmp_path, bert.config, bert.tensors)).tensors
    assert set(tensors) == set(bert.tensors)
    assert len(tensors) == len(bert.tensors)
    assert tensors.header(TABLE) == ((29, 22), "F32")
    np.testing.assert_array_equal(tensors[TABLE], bert.tensors[TABLE])


def test_clip_without_its_projection_is_refused(tmp_path):
    golden = read_golden("clip_text_projected")
    tensors = {k: v for k, v in golden.tensors.items() if k != "text_projection.weight"}
    assert "text_projection.weight" in refusal(tmp_path / "a", golden.config, tensors)
    config = golden.config | {"architectures": ["CLIPTextModel"]}
    said = refusal(tmp_path / "b", config, golden.tensors)
    assert "used by nothing, [text_projection.weight]" in said


def test_a_config_within_a_config_says_only_what_differs():
    read = TEXT_FAMILIES["clip"].settings
    published = read({"text_config": {}, "projection_dim": 512})
    told = {k: published[k] for k in ("vocab_size", "max_length", "width", "depth")}
    assert told == {"vocab_size": 49408, "max_length": 77, "width": 512, "depth": 12}
    assert published["activation"] == "quick_gelu"
    assert published["projection"] == 512
    assert read({"text_config": {"hidden_size": 768}})["width"] == 768
