"""Frozen models that write and read files.

`codec` follows a picture from pixels to bytes and back, `autoencoder_codec` does so without a prior; `freezing` and
`gained` make codecs of trained models. Imports `networks`, `coding` and the top. Begin with `codec`.
"""
