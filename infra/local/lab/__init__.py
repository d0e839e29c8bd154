"""A real network for the embedded cloud: IPsec and BGP between network namespaces.

    host         the sockets that reach into namespaces, and what the machine must have
    keeper       the process that owns namespaces and daemons, and ends with whoever started it
    namespaces   namespaces, links and commands in them
    plan         which tunnels, routers and endpoints there are
    tunnels      strongSwan, one daemon per tunnel end
    routing      BIRD at AWS's end, FRR in the edge routers
    internet     the two underlays, and what can go wrong on them
    network      all of it, as one object
    kernel_routes  EC2's route tables as kernel routes
    plane        the embedded cloud's data plane on this network

It needs root and Debian packages; `requirements.missing()` says which.
"""
