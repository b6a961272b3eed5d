"""Which accelerator, and which placement of a model on many of them, trains fastest within a budget."""

__version__ = "0.1.0"
