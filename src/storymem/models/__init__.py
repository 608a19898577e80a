"""Models: what there is, where it lies on disk, and how it gets into memory.

`storymem.models.catalog` and `storymem.models.store` are light; the modules that load weights import torch.
"""
