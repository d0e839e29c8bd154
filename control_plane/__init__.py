"""The control plane: observes a link, decides, proves, switches, verifies, and undoes."""
