"""`make bench`: every benchmark, one after the other. Ratios within one run; nothing here passes or fails."""

from __future__ import annotations

from bench import proxy_failover, proxy_speed, route_model

if __name__ == "__main__":
    route_model.main()
    proxy_speed.main()
    proxy_failover.main()
