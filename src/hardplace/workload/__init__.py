"""A model as the operators of one training step."""
