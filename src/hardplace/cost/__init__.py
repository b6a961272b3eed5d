"""What a kernel or a collective takes on a chip, vectorised over kernels and chips."""
