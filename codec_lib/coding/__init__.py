"""Between symbols and bytes: what encoder and decoder must do alike, whatever is learned.

The coding order of a latent and the walk that follows it (`order`), networks in integers (`integer_networks`), range
coding (`range_coding`) with integer tables (`integer_tables`), Huffman and adaptive arithmetic coding, and the
container. Imports only the top. Begin with `container`, then `range_coding`.
"""
