"""The embedded world: images drawn by code, their captions, and which captions are true of which images.

scenes = make_world("test", 1000)
scenes.picture(3)       # PIL image, RGB, 128 x 128
scenes.captions(3)      # five Captions: text, facts, spans
scenes[3]               # the scene graph
scenes.masks(3)         # visible pixels of each thing
"""

from .facts import Caption, Fact
from .graph import Scene, Spot, Thing
from .truth import TruthTable, closed_facts, true
from .world import Scenes, contact_sheet, graph_hash, library_versions, make_world, world_hash

__all__ = ["Caption", "Fact", "Scene", "Scenes", "Spot", "Thing", "TruthTable", "closed_facts",
           "contact_sheet",
           "graph_hash", "library_versions", "make_world", "true", "world_hash"]  # fmt: skip
