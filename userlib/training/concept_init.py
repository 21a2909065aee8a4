"""The concepts of a run: the frequent words of its train captions, and how often they occur together."""

from userlib.data.captions import CaptionDataset
from userlib.model.neighbours.concepts import Concepts, concept_graph
from userlib.model.user import USER


def init_concepts(model: USER, train: CaptionDataset) -> None:
    """To be called before the first step: sets the graph of every `Concepts` in a model, momentum copies included; a
    model without concepts stays unchanged.
    """
    parts = [module for module in model.modules() if isinstance(module, Concepts)]
    if not parts:
        return
    captions = (train.ids(row) for row in range(len(train)))
    special = train.tokenizer.special_ids
    vectors, graph = concept_graph(captions, count=len(parts[0].graph), special=special)
    for part in parts:
        part.set_graph(vectors, graph)
