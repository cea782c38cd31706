"""What a codec is worth: files measured, classical codecs, times, complexity, and figures of it.

Imports everything but `training`, `report` and `commands`. Begin with `evaluation`, which measures files on disk.
"""
