"""One module per state, named by its role; each exposes `handler`."""
