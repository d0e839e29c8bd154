"""Pure values and functions: no AWS, no clock, no environment. `now` is always an argument."""
