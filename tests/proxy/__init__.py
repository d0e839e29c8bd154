"""The proxy against sockets: an upstream of the tests' own, and every way in which it can misbehave."""
