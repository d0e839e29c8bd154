"""`twinspan` as it is installed: the operator's commands of the control plane, and those of the infrastructure.

The control plane may not know the infrastructure, so the command line is put together up here.
"""
