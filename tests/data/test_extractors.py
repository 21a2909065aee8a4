"""Networks are built and fed as their JSON says, and whatever does not fit is an error in place of wrong
tokens.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.data.copies import CLIP_CONFIG, picture, write_backbone, write_clip
from userlib.data.clip import load_clip, split_name, tokenizer_of
from userlib.data.extractors import check_made_by, made_by, make_extractor
from userlib.data.tokenizers import make_tokenizer
from userlib.errors import UserError
from userlib.search.protocol import difference

NAME = "timm:test_resnet"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


def test_a_timm_network_gives_its_last_map_cell_by_cell(tmp_path):
    import timm
    from safetensors.torch import load_file

    weights = write_backbone(tmp_path)
    network = timm.create_model("test_resnet", num_classes=0).eval()
    network.load_state_dict({k: v.float() for k, v in load_file(weights).items()}, strict=False)
    x = torch.from_numpy(np.array(picture(0).resize((64, 64), 3))).float()  # 3: bicubic
    with torch.no_grad():
        slow = network.forward_features(((x - 128) / 64).permute(2, 0, 1)[None])[0]
    extractor = make_extractor(NAME, weights=weights)
    tokens, guide = extractor([picture(0)])
    pooled = slow.mean((1, 2))
    torch.testing.assert_close(guide[0], pooled / pooled.norm(), rtol=1e-4, atol=1e-5)
    assert extractor.guide_dim == guide.shape[1] == len(slow)
    assert extractor.grid == (2, 2)
    for row in range(2):
        for column in range(2):
            torch.testing.assert_close(
                tokens[0, 2 * row + column], slow[:, row, column], rtol=1e-4, atol=1e-5
            )


def test_ranges_of_one_and_of_255_agree(tmp_path):
    a = write_backbone(tmp_path / "a", mean=[127.5] * 3, std=[51] * 3)
    b = write_backbone(tmp_path / "b", mean=[0.5] * 3, std=[0.2] * 3, range="0-1")
    first, second = (make_extractor(NAME, weights=w)([picture(0)])[0] for w in (a, b))
    torch.testing.assert_close(first, second)
    assert make_extractor(NAME, weights=a).cache_key() != make_extractor(NAME, weights=b).cache_key()


def test_the_weights_that_timm_chooses_for_a_name_are_part_of_what_tokens_are(monkeypatch):
    """A name with its tag is the same network as the bare one, until timm chooses others for that; what an earlier
    version kept without a tag still fits.
    """
    tagged = f"{NAME}.r160_in1k"
    assert make_extractor(NAME).cache_key() == make_extractor(tagged).cache_key()
    then = made_by(NAME)
    older = {**then, "tokens": {**then["tokens"], "model": "test_resnet"}}
    monkeypatch.setattr("timm.models.get_pretrained_cfg", lambda name: SimpleNamespace(tag="newer"))
    now = made_by(NAME)
    for trained in (now, older):
        assert check_made_by(trained, now, where="run") == []
        assert difference(trained, now) == difference(now, trained) == ""
    with pytest.raises(
        UserError, match="with the tokens 'timm:test_resnet.r160_in1k', .* 'timm:test_resnet.newer'"
    ):
        check_made_by(then, now, where="run")
    assert "tokens.model" in difference(then, now)
    assert check_made_by(then, made_by(tagged), where="run") == []  # which is the remedy


def edit(name, value):
    return lambda document: document | {name: value}


@pytest.mark.parametrize(
    "fault, message",
    [
        (lambda document: {k: v for k, v in document.items() if k != "kwargs"}, "no usable 'kwargs'"),
        (lambda document: [], "no usable 'model'"),
        (edit("model", "test_vit"), "is for 'test_vit', not 'test_resnet'"),
        (edit("range", "0-2"), "range '0-2'; use '0-255' or '0-1'"),
        (edit("kwargs", {"num_classes": 0, "colour": 1}), "cannot build 'test_resnet' with"),
        (edit("kwargs", {"num_classes": 10}), "2 weights are missing"),
        (edit("kwargs", {"num_classes": 0, "in_chans": 1}), "of another shape"),
        (edit("kwargs", {"checkpoint_path": "x.pth"}), "sets 'checkpoint_path'"),
        (edit("tokens", {"shape": [9, 96]}), r"gives tokens of shape \(4, 96\).*says \(9, 96\)"),
        (edit("tokens", {}), "tokens.shape"),
        (edit("mean", ["0.5", 0.5, 0.5]), r"gives mean as \['0.5', 0.5, 0.5\]; it must be three numbers"),
        (edit("input_size", [3, 64]), "it must be three numbers"),
    ],
)
def test_a_json_that_does_not_fit_is_an_error(tmp_path, fault, message):
    weights = write_backbone(tmp_path)
    document = json.loads((tmp_path / "tiny.json").read_text())
    (tmp_path / "tiny.json").write_text(json.dumps(fault(document)))
    with pytest.raises(UserError, match=message):
        make_extractor(NAME, weights=weights)([picture(0)])


def test_weights_that_are_not_there_or_cut_short(tmp_path):
    with pytest.raises(UserError, match="There is no weights file"):
        make_extractor(NAME, weights=tmp_path / "tiny.safetensors")
    weights = write_backbone(tmp_path)
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match="not a complete .safetensors file"):
        make_extractor(NAME, weights=weights)([picture(0)])
    (tmp_path / "tiny.json").unlink()
    with pytest.raises(UserError, match="has no tiny.json next to it"):
        make_extractor(NAME, weights=weights)


def test_left_over_weights_are_an_error(tmp_path):
    from safetensors.torch import load_file, save_file

    weights = write_backbone(tmp_path)
    save_file(load_file(weights) | {"extra.weight": torch.zeros(1)}, weights)
    with pytest.raises(UserError, match=r"1 left over \(extra.weight\)"):
        make_extractor(NAME, weights=weights)([picture(0)])


def test_a_transformer_of_timm_gives_its_patches(tmp_path):
    extractor = make_extractor("timm:test_vit")
    network, forward, inputs = extractor.meta_model()
    assert forward(inputs).shape[1] == extractor.token_shape[0] + network.num_prefix_tokens
    assert extractor.grid[0] * extractor.grid[1] == extractor.token_shape[0]
    assert not extractor.local
    assert make_extractor("timm:swin_tiny_patch4_window7_224").token_shape == (49, 768)  # a map (h, w, D)
    assert make_extractor("timm:swin_tiny_patch4_window7_224").grid == (7, 7)
    with pytest.raises(UserError, match="timm has no network 'test_vitt'"):
        make_extractor("timm:test_vitt")


def test_clip_tokens_are_the_normed_patches_and_the_guide_is_encode_image(clip):
    extractor = make_extractor(f"open_clip:local-dir:{clip}")
    tokens, guide = extractor([picture(0), picture(1)])
    model, preprocess = load_clip(f"local-dir:{clip}")
    x = torch.stack([preprocess(picture(i)) for i in range(2)])
    with torch.no_grad():
        model.visual.output_tokens = True
        _, patches = model.visual(x)
        model.visual.output_tokens = False
        torch.testing.assert_close(guide, model.encode_image(x, normalize=True), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens, patches, rtol=1e-4, atol=1e-5)
    assert extractor.token_shape == (4, 32)
    assert extractor.grid == (2, 2)
    assert extractor.guide_dim == 12
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    "name, shape, guide",
    [
        ("ViT-B-32-quickgelu/openai", (49, 768), 512),
        ("ViT-B-32/laion2b_s34b_b79k", (49, 768), 512),
        ("ViT-B-16", (196, 768), 512),
        ("ViT-B-16-SigLIP/webli", (196, 768), 768),
    ],
)
def test_the_shapes_of_the_usual_models_are_known_without_their_weights(name, shape, guide):
    extractor = make_extractor(f"open_clip:{name}")
    assert extractor.token_shape == shape
    assert extractor.guide_dim == guide
    assert extractor.cache_key()["weights"] == split_name(name)[1]


@pytest.mark.parametrize(
    "name, message",
    [
        ("ViT-B-32/openai", "QuickGELU.*Use open_clip:ViT-B-32-quickgelu/openai"),
        ("ViT-B-16-quickgelu/laion2b", "no weights 'laion2b' for 'ViT-B-16-quickgelu'"),
        ("ViT-B/32", "no model 'ViT-B'.*ViT-B-16"),
        ("RN50-quickgelu/openai", "gives no patch tokens"),
        ("ViT-H-14", "no weights ''.*Choose one of laion2b"),
        ("local-dir:/no/such", "/no/such has no open_clip_config.json"),
    ],
)
def test_wrong_clip_names_are_named(name, message):
    with pytest.raises(UserError, match=message):
        make_extractor(f"open_clip:{name}")


def test_a_clip_folder_that_does_not_fit_is_an_error(tmp_path):
    folder = write_clip(tmp_path)
    config = json.loads((folder / "open_clip_config.json").read_text())

    def written(**changed):
        (folder / "open_clip_config.json").write_text(
            json.dumps(config | {"model_cfg": CLIP_CONFIG | changed})
        )

    written(embed_dim=13)
    with pytest.raises(UserError, match="open_clip cannot build .*Check its folder"):
        make_extractor(f"open_clip:local-dir:{folder}").load()
    written()
    weights = folder / "open_clip_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-9])
    with pytest.raises(UserError, match="open_clip cannot build"):
        make_extractor(f"open_clip:local-dir:{folder}").load()
    weights.write_bytes(whole)
    written(text_cfg=CLIP_CONFIG["text_cfg"] | {"vocab_size": 100})
    with pytest.raises(UserError, match="has 49408 pieces, but the text tower has 100"):
        tokenizer_of(f"local-dir:{folder}")
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(UserError, match="no model_cfg"):
        split_name(f"local-dir:{folder}")


def test_weights_belong_to_timm_alone(tmp_path):
    with pytest.raises(UserError, match="cannot be given for"):
        make_extractor("clip-mini", weights=tmp_path / "a.safetensors")


@pytest.mark.parametrize("kind", ["timm", "clip"])
def test_tokens_are_in_the_precision_that_names_their_cache_within_autocast(kind, clip, tmp_path):
    if kind == "timm":
        extractor = make_extractor("timm:test_resnet", weights=write_backbone(tmp_path))
    else:
        extractor = make_extractor(f"open_clip:local-dir:{clip}")
    assert extractor.cache_key()["precision"] == "fp32"
    wanted = extractor([picture(1)])
    with torch.autocast("cpu", torch.bfloat16):
        result = extractor([picture(1)])
    assert all(torch.equal(one, other) for one, other in zip(result, wanted, strict=True))


def test_bf16_gives_nearly_the_tokens_of_fp32_and_another_cache(clip):
    """Where a GPU has bf16 the towers run in it; tokens and guide come back as float32."""
    extractor = make_extractor(f"open_clip:local-dir:{clip}")
    plain, about = extractor([picture(0), picture(1)]), extractor.cache_key()
    extractor.bf16 = True
    half = extractor([picture(0), picture(1)])
    assert (about["precision"], extractor.cache_key()["precision"]) == ("fp32", "bf16")
    for one, other in zip(plain, half, strict=True):
        assert other.dtype == torch.float32
        assert not torch.equal(one, other)
        assert torch.nn.functional.cosine_similarity(one, other, dim=-1).min() > 0.999
    torch.testing.assert_close(
        half[1].norm(dim=1), torch.ones(2), rtol=0, atol=1e-6
    )  # bf16 alone misses it by 1e-3


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "ViT-B-16-SigLIP/webli", "xlm-roberta-base-ViT-B-32"])
def test_text_towers_that_read_their_padding_are_refused(name):
    with pytest.raises(UserError, match="text tower of .* does not read from left to right.*text 'bert'"):
        make_tokenizer("clip", [], model=name)


def test_clip_mini_is_called_by_its_name_and_not_by_its_folder():
    extractor = make_extractor("clip-mini")
    assert extractor.spec == "clip-mini"  # what progress says, also in notebooks that others read
    assert (extractor.token_shape, extractor.guide_dim) == ((64, 128), 128)
