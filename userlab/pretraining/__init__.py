"""How the two networks that come with the project are made: region-mini plays the detector, clip-mini plays
CLIP.

Each is one command, `python -m userlab pretrain-regions` and `python -m userlab pretrain-clip`, that can be
killed and run again.
"""
