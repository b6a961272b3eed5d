"""Shape, chip and plan searched together."""
