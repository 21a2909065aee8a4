"""What related work puts where USER has SGE and CGE, GPO and the dot product, one mechanism per file.

Poolings: esa, views. Enhancements: graph, route, concepts. All are chosen by name, as SGE and GPO are
(`ModelConfig.enhancement`, `ModelConfig.pooling`), and leave one vector per image and per caption.
"""
