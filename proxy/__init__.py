"""The inference proxy: carries Bedrock calls over a path that works. Imports nothing of the other packages."""
