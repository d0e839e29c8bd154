"""Everything that touches AWS or the network, one module per service."""
