"""How weights come about: runs, the loop, the optimiser, starts, and their publication.

Imports everything but `report` and `commands`. Begin with `training`, one readable loop.
"""
