"""Which part of a pretrained network learns: none, its last blocks, adapters of low rank (LoRA), or all of it.

LoRA: Hu et al., ICLR 2022, by the library peft. A network's file keeps its own names: `load_start` reads them.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from userlib.errors import UserError

LISTS = ("blocks", "resblocks", "layer", "layers", "stages", "h")  # what libraries call a network's blocks
PROJECTIONS = ("proj", "projection")  # how the names of output matrices end, which come before the blocks
ATTENTION = "MultiheadAttention"  # torch's own: reads the weights of its linear layer past a LoRA


def set_trainable(network: nn.Module, how: str, *, setting: str, rank: int = 8) -> None:
    """Switches gradients on and off in place. how: all | none | last:N (the last N blocks and what follows them) | lora
    (a pair of matrices of that rank next to each linear layer, scaled by 2; the rest stays as it came).

    setting is the name for errors. Raises UserError for more blocks than there are, for a network whose blocks are not
    known, and for LoRA where there is no linear layer, or no peft.
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
            known = f"it has {len(blocks)} blocks" if blocks else "it has no blocks that are known by name"
            raise UserError(
                f"{setting} is {how!r} and the network is a {type(network).__name__}: {known}. Use "
                f"{f'last:1 to last:{len(blocks)}' if blocks else 'all, lora or none'}."
            )
        for parameter in _from_block(network, blocks[-count:]):
            parameter.requires_grad_(True)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network in order: its outermost list of them, or the stages layer1, layer2, ... of a ResNet."""
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
    """The parameters of the blocks, of what follows them, and the output projections. A network registers most of its
    modules in the order in which they run; embeddings come before the blocks wherever they are registered.
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
            f"{setting} is 'lora' and the network, a {type(network).__name__}, has no linear layer to add it to. Use "
            "last:1, all or none."
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(
            f"{setting} is 'lora', which takes one more package: pip install -e \".[lora]\"."
        ) from error
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=linear), network)


def load_start(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Fills the network with weights under the names that it had before LoRA; its adapters stay as they are.

    Raises RuntimeError, as torch does, for a missing, left over or misshapen weight.
    """
    state = network.state_dict()
    own = {name.replace(".base_layer.", "."): name for name in state if ".lora_" not in name}
    adapters = {name: value for name, value in state.items() if ".lora_" in name}
    network.load_state_dict({own.get(name, name): value for name, value in weights.items()} | adapters)
