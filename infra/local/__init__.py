"""The embedded cloud: both AWS partitions in one process, for development, tests and the demo.

A moto server answers the AWS APIs; the modules here add what AWS does and moto does not: events reach
their targets, alarms are evaluated, schedules fire, functions run their own code in their own process.

What it does not guarantee: IAM is not evaluated, quotas are not enforced, no packet crosses a VPC. A
feature it cannot emulate is an error (`NotEmulated`) when it is deployed, never a silent success.
"""

from infra.local import botocore_models

botocore_models.keep_parsed()  # before moto is imported, which parses the largest of them by itself
