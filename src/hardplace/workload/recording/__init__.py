"""Records one training step of a PyTorch module, without weights; only this package imports torch."""
