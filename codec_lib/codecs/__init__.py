"""Frozen models that write and read files.

`codec` follows a picture from pixels to bytes and back, `autoencoder_codec` does so without a prior; `weight_rounding`
rounds weights to what a file keeps. Imports `networks`, `coding` and the top. Begin with `codec`.
"""
