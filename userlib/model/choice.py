"""Builds an enhancement by its name: those of USER (`GUIDED`) and those of related work."""

from collections.abc import Callable, Mapping

from userlib.arguments import one_of
from userlib.config import ModelConfig
from userlib.model.enhancement import GUIDED, Enhancement
from userlib.model.layers import RegionEnhancement
from userlib.model.neighbours.concepts import Concepts
from userlib.model.neighbours.graph import RegionGraph
from userlib.model.neighbours.route import Route
from userlib.rules import ENHANCEMENTS


def _guided(kind: str, config: ModelConfig, width: int, on_words: bool) -> RegionEnhancement:
    return Enhancement(
        kind,
        width,
        guide_dim=None if on_words else config.guide_dim,
        regions=None if on_words else config.regions,
        norm="layer" if on_words else config.norm,
        dropout=config.guide_dropout,
        residual_scale=config.residual_scale,
        inverse_temperature=config.inverse_temperature,
        weight_init=config.weight_init,
    )


MAKERS: Mapping[str, Callable[[str, ModelConfig, int, bool], RegionEnhancement]] = {
    **dict.fromkeys(GUIDED, _guided),
    "graph": lambda _, config, width, on_words: RegionGraph(width, norm="layer" if on_words else config.norm),
    "route": lambda _, config, width, on_words: Route(width),
    "concepts": lambda _, config, width, on_words: Concepts(config.embed_dim, count=config.num_concepts),
}


def make_enhancement(
    kind: str, config: ModelConfig, width: int, *, on_words: bool = False
) -> RegionEnhancement:
    """The enhancement `kind` for regions, or words, of `width` dimensions. Raises UserError for an unknown name."""
    one_of("enhancement", kind, ENHANCEMENTS)
    return MAKERS[kind](kind, config, width, on_words)
