"""A plan applied to a real module with torch.distributed, and held against what it predicts (extra torch)."""
