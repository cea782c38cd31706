"""Frozen models that write and read files.

`weight_rounding` rounds weights to what a file keeps, `exact` computes in integers what a decoder must repeat, `codec`
follows a picture from pixels to bytes and back. Imports `networks`, `coding` and the top. Begin with `codec`.
"""
