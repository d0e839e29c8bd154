"""The command line as an operator meets it: what is shown, asked, stored, and how it fails."""
