export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether two JSON values say the same; the order of an object's fields says nothing. */
export function isSame(one: unknown, other: unknown): boolean {
  if (Array.isArray(one) && Array.isArray(other))
    return one.length === other.length && one.every((each, index) => isSame(each, other[index]));
  if (!isObject(one) || !isObject(other)) return one === other;
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length &&
    names.every((name) => Object.hasOwn(other, name) && isSame(one[name], other[name]))
  );
}

/** Return the object with one field set, or without it when the value is undefined. */
export function withField(object: JsonObject, name: string, value: unknown): JsonObject {
  const { [name]: _before, ...rest } = object;
  // In its old place, so that what is sent does not change its order with every key that is pressed.
  if (value === undefined) return rest;
  return { ...object, [name]: value };
}

/** Whether an object in a JSON document, which can be parsed, names a field twice: parsing keeps the last one only. */
export function namesTwice(document: string): boolean {
  const objects: Set<string>[] = [];
  for (const [token, name] of document.matchAll(/("(?:[^"\\]|\\.)*")\s*:|"(?:[^"\\]|\\.)*"|[{}]/g)) {
    if (token === "{") objects.push(new Set());
    else if (token === "}") objects.pop();
    else if (name !== undefined) {
      const names = objects.at(-1);
      const read = JSON.parse(name) as string;
      if (names?.has(read)) return true;
      names?.add(read);
    }
  }
  return false;
}

/** The parts of a JSON Pointer (RFC 6901). */
export function pointerParts(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

export function pointerTo(parent: string, name: string | number): string {
  return `${parent}/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}
