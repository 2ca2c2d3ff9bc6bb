"""Training of transformer networks, one style at a time (Johnson et al. 2016); import from the modules.

config: the parameters of a training. objective: the loss. photos, sources, cache: the training photos.
trainer: the steps. checkpoint: the full state as a file. curve, plot: the losses as data and as a picture.
run: a training in a folder, which may be interrupted at any moment.
"""
