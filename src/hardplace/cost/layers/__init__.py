"""One rank's layer as work: products, attention, streams and collectives with their sizes."""
