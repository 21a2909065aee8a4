"""The retrieval demo: search both ways, see why, compare, a map, failures, one's own photos.

from userlib.demo import App, open_engine
App()                               # the page, in a notebook
open_engine("sge").search("a dog")  # the same without a page
"""

from userlib.demo.app import App
from userlib.demo.engine import Answer, Engine
from userlib.demo.gallery import Gallery, world_gallery
from userlib.demo.models import open_engine, shelf

__all__ = ["Answer", "App", "Engine", "Gallery", "open_engine", "shelf", "world_gallery"]
