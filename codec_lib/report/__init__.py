"""The report: notebooks executed, pages made, by the graph of the Snakefile.

May import everything but `commands`. Begin with `runner`, which is `python -m codec_lib.report`.
"""
