#!/usr/bin/env python3
"""Takes from Kubernetes' published OpenAPI (api/openapi-spec/swagger.json of a release) what tests hold requests against:
extract.py SWAGGER >openapi.json

Words for people are left out, and so is what a pod is to run, which nothing here reads."""

import json
import sys

PATHS = [
    "/api/v1/namespaces/{namespace}/pods",
    "/api/v1/namespaces/{namespace}/pods/{name}",
    "/api/v1/namespaces/{namespace}/pods/{name}/eviction",
    "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
    "/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}/scale",
]
METHODS = ["get", "post", "patch", "delete"]
# What requests that are no requests for a thing as a whole are parts of.
BESIDES = ["io.k8s.apimachinery.pkg.apis.meta.v1.Status", "io.k8s.api.autoscaling.v1.Scale"]
ANYTHING = {
    "io.k8s.api.core.v1.PodSpec",
    "io.k8s.api.core.v1.ContainerStatus",
    "io.k8s.api.core.v1.PodResourceClaimStatus",
    "io.k8s.api.core.v1.PodExtendedResourceClaimStatus",
}
LEFT_OUT = {"description", "operationId", "produces", "schemes", "tags", "uniqueItems"}


def lean(value):
    if isinstance(value, dict):
        return {
            key: lean(part)
            for key, part in value.items()
            if not (key in LEFT_OUT and not isinstance(part, dict))
            and (not key.startswith("x-kubernetes-") or key == "x-kubernetes-group-version-kind")
        }
    return [lean(part) for part in value] if isinstance(value, list) else value


def named(value):
    """Names of all definitions that a value refers to."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "$ref":
                yield part.removeprefix("#/definitions/")
            else:
                yield from named(part)
    elif isinstance(value, list):
        for part in value:
            yield from named(part)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        whole = json.load(file)

    def parameters(of):
        all_of = [whole["parameters"][p["$ref"].rsplit("/", 1)[1]] if "$ref" in p else p for p in of]
        return [lean(p) for p in all_of]

    paths = {}
    for path in PATHS:
        item = whole["paths"][path]
        paths[path] = {"parameters": parameters(item.get("parameters", []))}
        for method in METHODS:
            if method in item:
                operation = lean(item[method])
                operation["parameters"] = parameters(item[method].get("parameters", []))
                paths[path][method] = operation
    definitions, wanted = {}, BESIDES + list(named(paths))
    while wanted:
        name = wanted.pop()
        if name not in definitions:
            anything = name in ANYTHING
            definitions[name] = {"type": "object"} if anything else lean(whole["definitions"][name])
            wanted += list(named(definitions[name]))
    json.dump({"paths": paths, "definitions": dict(sorted(definitions.items()))}, sys.stdout, indent=1)
    print()


main()
