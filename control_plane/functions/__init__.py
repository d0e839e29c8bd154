"""Lambda entry points outside the workflow."""
