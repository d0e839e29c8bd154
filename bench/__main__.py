"""`make bench`: every benchmark, one after the other. Ratios within one run; nothing here passes or fails."""

from __future__ import annotations

from bench import route_model

if __name__ == "__main__":
    route_model.main()
