"""The study of learned models: equation, equation with residual and purely learned, on the same splits."""
