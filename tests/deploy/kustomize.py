"""Builds a kustomization, and says of each object what Kubernetes' schemas have against it: JSON on standard output."""

import asyncio
import json
import sys

import kubernetes_validate
import pykustomize
import yaml

# Not Kubernetes' own: it has no schema there, and is looked at by the test.
FOREIGN = {"ServiceMonitor"}


def problem(document):
    """What is wrong with an object; None for nothing."""
    if document["kind"] in FOREIGN:
        return None
    try:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return f"{document['kind']}: {type(error).__name__}: {error}"
    return None


built = asyncio.run(pykustomize.build(sys.argv[1])).yaml
objects = list(yaml.safe_load_all(built))
problems = [found for found in map(problem, objects) if found is not None]
json.dump({"objects": objects, "problems": problems}, sys.stdout)
