"""What is learned.

Layers, quantisation, densities and autoencoders; `transforms/` has a file for each pair g_a and g_s, `priors/` one for
each prior. Imports `coding` and the top. Begin with `priors/factorized`: `forward(x)` gives x_hat and what it costs.
"""
