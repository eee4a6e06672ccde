"""Holds answers of the API to its description, with a validator that knows nothing of macwatch.

On stdin JSON: the description, and a list of [path, status, content type, body]. What is wrong ends it with an error.
"""

import json
import sys

from jsonschema import Draft202012Validator, RefResolver

asked = json.load(sys.stdin)
description = asked["description"]
resolver = RefResolver.from_schema(description)
for schema in description["components"]["schemas"].values():
    Draft202012Validator.check_schema(schema)
for path, status, content_type, body in asked["answers"]:
    response = description["paths"][path]["get"]["responses"][str(status)]
    if "$ref" in response:
        response = resolver.resolve(response["$ref"])[1]
    schema = response["content"][content_type]["schema"]
    Draft202012Validator(schema, resolver=resolver).validate(json.loads(body))
print(len(asked["answers"]))
