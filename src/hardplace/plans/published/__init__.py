"""Published training runs, read as plans and scored."""
