"""Between symbols and bytes: what needs no network.

The coding order of a latent and the walk that follows it (`context`), range coding with integer tables
(`entropy_coding`), Huffman and adaptive arithmetic coding, and the container (`bitstream`). Imports only the top.
Begin with `bitstream`, then `entropy_coding`.
"""
