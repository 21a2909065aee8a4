"""Alternatives from related work to USER's SGE and CGE, GPO and dot product, one mechanism per file.

Poolings: esa, views. Enhancements: graph, route, concepts. Like SGE and GPO they are chosen by name
(`ModelConfig.enhancement`, `ModelConfig.pooling`), and each image and each caption still has one vector.
"""
