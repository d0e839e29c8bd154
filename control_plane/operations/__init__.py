"""The use cases, one module per beat of the workflow. Each gathers, calls the pure core, and acts."""
