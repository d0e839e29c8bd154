"""The console: one page on loopback that shows a link live, and starts what an operator asks for."""
