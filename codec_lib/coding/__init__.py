"""Between symbols and bytes: what needs no network.

The coding order of a latent and the walk that follows it (`order`), range coding with integer tables
(`range_coding`), Huffman and adaptive arithmetic coding, and the container (`container`). Imports only the top.
Begin with `container`, then `range_coding`.
"""
