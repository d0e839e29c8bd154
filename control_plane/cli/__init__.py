"""The `twinspan` command."""
