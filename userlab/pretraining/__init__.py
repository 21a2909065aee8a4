"""How the networks that come with the project are made: region-mini takes the part of the object detector, clip-mini
that of CLIP, and photos-mini searches photos.

Each has a command, `python -m userlab pretrain-regions`, `pretrain-clip` or `pretrain-photos`, which resumes an
interrupted run.
"""
