"""What the linters of templates and policies are told, and why."""
