"""last:N against the way that gradients take through whole networks, built without weights on the meta device."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.data.copies import write_clip
from userlib.data.clip import bare_clip
from userlib.model.text_networks import ClipText
from userlib.model.trainable import blocks_of, set_trainable


def reached(tensors):
    """The ids of the parameters that these tensors were computed from."""
    nodes = [tensor.grad_fn for tensor in tensors]
    seen, found = set(), {id(tensor) for tensor in tensors if isinstance(tensor, nn.Parameter)}
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [following for following, _ in node.next_functions]
            if hasattr(node, "variable"):
                found.add(id(node.variable))
    return found


def clip_text(name):
    network = ClipText(SimpleNamespace(text_width=512, text_model=name))
    length = network.clip.context_length
    return network, lambda: network.vector(torch.ones(2, length, dtype=torch.long))


def clip_image(name):
    network = bare_clip(name).visual
    return network, lambda: network(torch.empty(2, 3, *network.image_size))


def text_of(kind):
    from transformers import AutoConfig, AutoModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 40}
    network = AutoModel.from_config(AutoConfig.for_model(kind, **({} if kind == "distilbert" else sizes)))
    network.pooler = None
    return network, lambda: network(input_ids=torch.ones(2, 6, dtype=torch.long)).last_hidden_state


def timm_image(name):
    import timm

    network = timm.create_model(name, num_classes=0)
    images = torch.empty(2, *network.default_cfg["input_size"])
    return network, lambda: network.forward_head(network.forward_features(images), pre_logits=True)


NETWORKS = {
    "clip text": lambda small: clip_text("ViT-B-32"),
    "small clip text": lambda small: clip_text(f"local-dir:{small}"),
    "clip image": lambda small: clip_image("ViT-B-32"),
    "small clip image": lambda small: clip_image(f"local-dir:{small}"),
    "convnext of clip": lambda small: clip_image("convnext_base"),
    **{f"hf {kind}": lambda small, kind=kind: text_of(kind) for kind in ("bert", "mpnet", "distilbert")},
    **{
        name: lambda small, name=name: timm_image(name)
        for name in (
            "test_vit", "test_resnet", "test_efficientnet", "test_convnext", "vit_base_patch16_siglip_224",
        )
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("count", [1, 2])
def test_the_last_blocks_learn_and_all_that_follows_them(name, count, small):
    """Nothing that the first of these blocks is given depends on what learns; all else that the output needs does."""
    with torch.device("meta"):
        network, run = NETWORKS[name](small)
        given = []
        blocks = blocks_of(network)
        count = min(count, len(blocks))
        block = blocks[-count]
        first = block[0] if isinstance(block, nn.ModuleList) else block
        hook = first.register_forward_pre_hook(
            lambda module, args, kwargs: given.extend([*args, *kwargs.values()]), with_kwargs=True
        )
        output = run()
        hook.remove()
    before = reached([value for value in given if isinstance(value, torch.Tensor)])
    needed = reached([output])
    set_trainable(network, f"last:{count}", setting="model.train_text")
    wrong = [
        name
        for name, parameter in network.named_parameters()
        if id(parameter) in needed and parameter.requires_grad == (id(parameter) in before)
    ]
    assert not wrong
