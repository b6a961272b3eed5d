"""Times of fp32 kernels on a GPU from its sheet alone: equations, learned residuals, and how far to trust them."""
