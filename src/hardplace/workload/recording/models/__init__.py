"""The models of the catalogue: published configurations and functions that build them."""
