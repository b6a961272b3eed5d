"""One chip and one plan family, evaluated exactly."""
