"""Models with a prior, a file for each: all that is its own is there, in training form and in exact integers.

`base` tells what a prior must have, `conditional` what those with side information z share, `context` what those that
also look at y_hat share. Imports `networks` beside it and `coding`. Begin with `factorized`, then `hyperprior`.
"""
