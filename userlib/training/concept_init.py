"""The concepts of a run: the frequent words of its train captions, and how often they stand together."""

from userlib.data.captions import CaptionDataset
from userlib.model.neighbours.concepts import Concepts, concept_graph
from userlib.model.user import USER


def init_concepts(model: USER, train: CaptionDataset) -> None:
    """Before the first step: gives every `Concepts` of a model its graph, keys included. Other models stay."""
    parts = [module for module in model.modules() if isinstance(module, Concepts)]
    if not parts:
        return
    captions = (train.ids(row) for row in range(len(train)))
    special = train.tokenizer.special_ids
    vectors, graph = concept_graph(captions, count=len(parts[0].graph), special=special)
    for part in parts:
        part.set_graph(vectors, graph)
