"""USER: image-text retrieval with semantic enhancement and momentum queues."""

__version__ = "0.1.0"
