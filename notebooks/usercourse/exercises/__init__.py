"""The exercises of the notebooks, one module a notebook, each with a list EXERCISES."""
