"""Values that fit a JSON Schema."""

import json

import pytest

from openai_proxy.upstream.mock.schema import MOST_VALUES, sample

SEED = b"seed"


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        ({"type": "string"}, lambda v: isinstance(v, str) and v),
        ({"type": "string", "maxLength": 3}, lambda v: len(v) == 3),
        ({"type": "string", "minLength": 500}, lambda v: len(v) >= 500),
        ({"type": "string", "format": "date-time"}, lambda v: v.endswith("Z")),
        ({"type": "integer", "minimum": 5, "maximum": 6}, lambda v: v in (5, 6)),
        ({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7}, lambda v: v == 6),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, lambda v: v % 4 == 0 and v >= 5),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, lambda v: 0 < v < 1),
        ({"type": "number", "maximum": -5}, lambda v: v <= -5),
        ({"type": "boolean"}, lambda v: v in (True, False)),
        ({"type": "null"}, lambda v: v is None),
        ({"type": ["null", "integer"]}, lambda v: isinstance(v, int)),
        ({"enum": ["a", "b"]}, lambda v: v in ("a", "b")),
        ({"const": {"x": 1}}, lambda v: v == {"x": 1}),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, lambda v: isinstance(v, int)),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, lambda v: len(v) == 3),
        ({"type": "array", "maxItems": 0}, lambda v: v == []),
        ({"properties": {"a": {"items": {}}}}, lambda v: len(v["a"]) == 1),
        (
            {"$defs": {"d": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/d"}}},
            lambda v: isinstance(v["a"], int),
        ),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]},
            lambda v: v == {"a": 1, "b": 2},
        ),
    ],
)
def test_a_sample_fits_its_schema(schema, fits):
    """And is the same each time."""
    value = sample(schema, SEED)
    assert fits(value)
    assert sample(schema, SEED) == value


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/nowhere"},
        {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 4096},
        {"anyOf": [{"$ref": "#"}]},
        {"allOf": [{"$ref": "#"}, {"allOf": "x"}, 7]},
        {"type": 7, "properties": "x", "enum": "y", "items": 1},
        {"type": ["null"]},
        {"type": "integer", "minimum": "x", "maximum": 1e300, "multipleOf": -1},
        None,
        True,
        [],
    ],
)
def test_no_schema_makes_more_than_the_bound(schema):
    """Schemas that refer to themselves end; what is no schema is nothing."""
    text = json.dumps(sample(schema, SEED))
    assert text.count(",") + text.count("[") + text.count("{") <= 2 * MOST_VALUES + 2
