"""Layers on the devices of one replica: the exact programme over downsets."""
