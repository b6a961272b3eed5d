"""Plans on devices that exist: their seconds and their memory."""
