"""Which part of a pretrained network is trained: none, its last blocks, low-rank adapters (LoRA), or all of it.

LoRA: Hu et al., ICLR 2022, by the library peft. It renames the weights of a network; `load_start` reads the old names.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from userlib.errors import UserError

LISTS = ("blocks", "resblocks", "layer", "layers", "stages", "h")  # what libraries call a network's blocks
PROJECTIONS = ("proj", "projection")  # endings of the names of output matrices, which may be registered first
ATTENTION = "MultiheadAttention"  # torch's own, which bypasses an adapter on its linear layer


def set_trainable(network: nn.Module, how: str, *, setting: str, rank: int = 8) -> None:
    """Sets requires_grad in place. how: all | none | last:N (the last N blocks and what follows them) | lora (two
    matrices of that rank are added to each linear layer, scaled by 2, and only these are trained).

    setting: the name for errors. Raises UserError for more blocks than there are, for a network whose blocks are not
    known, and for LoRA without a linear layer or without the package peft.
    """
    if how == "all":
        return
    network.requires_grad_(False)
    if how == "lora":
        _add_lora(network, setting, rank)
    elif how != "none":
        count = int(how.partition(":")[2])
        blocks = blocks_of(network)
        if not 0 < count <= len(blocks):
            known = f"it has {len(blocks)} blocks" if blocks else "its blocks are not known"
            raise UserError(
                f"{setting} is {how!r} and the network is a {type(network).__name__}: {known}. Use "
                f"{f'last:1 to last:{len(blocks)}' if blocks else 'all, lora or none'}."
            )
        for parameter in _from_block(network, blocks[-count:]):
            parameter.requires_grad_(True)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network in order: its outermost list called as in LISTS, or the stages layer1, layer2, ... of a
    ResNet; empty where there are neither.
    """
    for name, module in network.named_modules():
        if name.rpartition(".")[2] in LISTS and isinstance(module, nn.ModuleList | nn.Sequential):
            return list(module)
    stages = [
        (name, module) for name, module in network.named_modules() if name.rpartition(".")[2] == "layer1"
    ]
    if not stages:
        return []
    parent = network.get_submodule(stages[0][0].rpartition(".")[0])
    return [module for name, module in parent.named_children() if name.startswith("layer")]


def _from_block(network: nn.Module, blocks: Sequence[nn.Module]) -> list[nn.Parameter]:
    """The parameters of the blocks, of what follows them, and of output projections. Networks register most modules in
    the order in which they run; embeddings run before the blocks wherever they are registered.
    """
    own = {id(p) for block in blocks for p in block.parameters()}
    embeddings = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    order = list(network.named_parameters())
    start = next((i for i, (_, p) in enumerate(order) if id(p) in own), len(order))
    return [
        p
        for i, (name, p) in enumerate(order)
        if id(p) in own
        or (i >= start and id(p) not in embeddings)
        or name.rpartition(".")[2].endswith(PROJECTIONS)
    ]


def _add_lora(network: nn.Module, setting: str, rank: int) -> None:
    attention = {name for name, module in network.named_modules() if type(module).__name__ == ATTENTION}
    linear = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[0] not in attention
    ]
    if not linear:
        raise UserError(
            f"{setting} is 'lora', but the network, a {type(network).__name__}, has no linear layer. Use last:1, all "
            "or none."
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(
            f"{setting} is 'lora', which needs the package peft: pip install -e \".[lora]\"."
        ) from error
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=linear), network)


def load_start(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Loads weights under the names that the network had before LoRA; its adapters stay as they are.

    Raises RuntimeError, as torch does, for a missing or unexpected weight, or one of another shape.
    """
    state = network.state_dict()
    own = {name.replace(".base_layer.", "."): name for name in state if ".lora_" not in name}
    adapters = {name: value for name, value in state.items() if ".lora_" in name}
    network.load_state_dict({own.get(name, name): value for name, value in weights.items()} | adapters)
