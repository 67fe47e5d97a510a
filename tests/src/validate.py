"""Checks recorded messages, and the examples of the documentation, against the schema: validate.py SCHEMA LOG DOCS"""

import json
import re
import sys

import jsonschema

with open(sys.argv[1]) as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)


def validator(name):
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})


whole = jsonschema.Draft202012Validator(schema)
methods = {}


def check(message):
    whole.validate(message)
    if "method" in message:
        validator("request").validate(message)
        methods[message["id"]] = message["method"]
        return message["method"]
    validator("answer").validate(message)
    method = methods.get(message["id"])
    if "result" in message and f"{method}-result" in schema["$defs"]:
        validator(f"{method}-result").validate(message["result"])
    return f"{method}-result" if "result" in message else "error"


seen = set()
with open(sys.argv[2]) as file:
    for line in file:
        seen.update(check(message) for message in json.loads(line).values())
with open(sys.argv[3]) as file:
    for block in re.findall(r"```json\n(.*?)```", file.read(), re.S):
        # Messages are broken over lines there, and each begins in the first column.
        for message in re.split(r"\n(?=\{\"jsonrpc)", block.strip()):
            check(json.loads(message))
# A schema that takes everything would be none.
for wrong in (
    {"jsonrpc": "2.0", "id": 1, "method": "apply", "params": {"zone": {"name": "a.test"}, "changes": [{"action": "replace"}]}},
    {"jsonrpc": "2.0", "id": 1, "method": "zone_of", "params": {"owner": "A.test."}},
    {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {"code": 1, "message": ""}},
    {"jsonrpc": "1.0", "id": 1, "result": {}},
):
    try:
        whole.validate(wrong)
    except jsonschema.ValidationError:
        continue
    sys.exit(f"the schema takes {wrong}")
print(" ".join(sorted(seen)))
