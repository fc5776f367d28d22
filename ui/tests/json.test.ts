import { expect, test } from "vitest";
import { namesTwice } from "../src/form/json";

test.each([
  ['{"a": 1, "a": 2}', true],
  ['[{"b": {"a": 1, "\\u0061": 2}}]', true],
  ['{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}', false],
  ['{"a": "\\"a\\": {", "b": ["a", "a"]}', false],
])("%s names a field twice: %s", (document, isTwice) => {
  expect(namesTwice(document)).toBe(isTwice);
});
