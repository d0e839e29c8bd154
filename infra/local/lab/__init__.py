"""A real network for the embedded cloud: IPsec and BGP between network namespaces.

    requirements      what the machine must have
    keeper            the process that owns namespaces and daemons, and ends with whoever started it
    namespaces        namespaces, links, commands and sockets in them
    plan, deployed    which tunnels, routers and endpoints there are: an example's, or the deployment's
    tunnels           strongSwan, one daemon per tunnel end
    routing           BIRD at AWS's end, FRR in the edge routers
    internet, delay   the two underlays, and what can go wrong on them
    network           all of it, as one object
    security_groups   what endpoints and routers take from GovCloud
    kernel_routes     EC2's route tables as kernel routes
    repairs           faults made and unmade
    plane, site       the embedded cloud's data plane on this network, and the place of its parts
    bridges           the control channel, and the way to the proxy
    certificates      TLS of the endpoints

What is shown on it: `encryption`, `isolation`, `latency`, `outages` with its `witness`, and the `report`; `captures`
reads what was on a wire. It needs root and Debian packages.
"""
