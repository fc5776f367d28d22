/** What a pattern asks for that is a beginning and then characters of some kinds. */
export interface Form {
  beginning: string;
  kinds: readonly ("letters" | "capital letters" | "lowercase letters" | "digits")[];
  marks: readonly string[];
  low: number;
  high: number | null;
}

const SHAPE = /^\^([A-Za-z_-]*)\[((?:A-Z|a-z|0-9|[._:/@-])+)\](?:\+|\{(\d+)(?:,(\d*))?\})\$$/;

/** Read a pattern such as `^org-[A-Za-z0-9_-]+$`; null when it is of another shape, and cannot be said so shortly. */
export function formOf(pattern: string): Form | null {
  const [, beginning, characters, low, high] = SHAPE.exec(pattern) ?? [];
  if (beginning === undefined || characters === undefined) return null;
  const [capital, small] = [characters.includes("A-Z"), characters.includes("a-z")];
  const marks = [...characters.replace(/A-Z|a-z|0-9/g, "")];
  return {
    beginning,
    kinds: [
      ...(capital && small ? (["letters"] as const) : []),
      ...(capital && !small ? (["capital letters"] as const) : []),
      ...(small && !capital ? (["lowercase letters"] as const) : []),
      ...(characters.includes("0-9") ? (["digits"] as const) : []),
    ],
    marks,
    low: low === undefined ? 1 : Number(low),
    // A number alone is both.
    high: low === undefined || high === "" ? null : Number(high ?? low),
  };
}
