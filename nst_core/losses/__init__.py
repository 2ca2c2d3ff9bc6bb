"""Losses of neural style transfer, each a small module that names its equation; import them from the modules.

Images are N x 3 x H x W, RGB in 0 to 1; features are N x C x H x W. Every loss returns a scalar, float32 also under
autocast and for narrower input, or float64 for float64 input. Targets are buffers, computed once and not trained.
The caller multiplies each term by its weight. Means include the batch, so that weights do not depend on its size.
"""
