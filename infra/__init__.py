"""Everything that brings Twinspan to a cloud: templates, the deployer and the embedded cloud.

Depends on the other packages' artefacts; nothing else imports it.
"""
