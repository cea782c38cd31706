"""What is learned, in training form.

Layers, transforms, quantisation, densities, the four rate-distortion models and the autoencoders. Imports `coding` and
the top modules. Begin with `models`: `forward(x)` gives x_hat and the bits it costs.
"""
