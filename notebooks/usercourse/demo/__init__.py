"""The retrieval demo: search in both directions, explanations, comparisons, a map, failures, and photos of your own.

from usercourse.demo import App, open_engine
App()                               # the page, in a notebook
open_engine("sge").search("a dog")  # the same without a page
"""

from usercourse.demo.app import App
from usercourse.demo.engine import Answer, Engine
from usercourse.demo.gallery import Gallery, world_gallery
from usercourse.demo.models import available_models, open_engine

__all__ = ["Answer", "App", "Engine", "Gallery", "open_engine", "available_models", "world_gallery"]
