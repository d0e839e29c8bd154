"""The remediation workflow: its definition, and one Lambda handler per state."""
