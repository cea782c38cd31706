"""Analysis g_a and synthesis g_s of models with a prior, a module for each style, and the hyper-transforms h_a, h_s.

A module has `PRESETS` (name -> sizes at an lmbda), `Analysis` and `Synthesis`, whose methods say how they start and
how they follow a latent that is rescaled. Imports `networks` beside it. Begin with `paper`.
"""
