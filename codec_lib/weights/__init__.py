"""Weight files: a frozen codec as safetensors, found by name or by digest.

Imports `codecs` and what lies below. Begin with `weight_files`.
"""
