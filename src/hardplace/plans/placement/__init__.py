"""The search for the best plan on devices that exist."""
