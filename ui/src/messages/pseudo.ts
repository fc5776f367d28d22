const ACCENTED: Record<string, string> = {
  a: "á",
  e: "é",
  i: "í",
  o: "ó",
  u: "ú",
  A: "Á",
  E: "É",
  I: "Í",
  O: "Ó",
  U: "Ú",
  c: "ç",
  n: "ñ",
  y: "ý",
};

/** Write a sentence as a longer language would: accented, a third longer, and in brackets that show a cut end. */
function stretched(sentence: string): string {
  const accented = sentence.replace(/[a-zA-Z]/g, (letter) => ACCENTED[letter] ?? letter);
  // In words, as a language would have them: what cannot be broken would fit nowhere.
  const more = "·".repeat(Math.ceil(sentence.length / 3)).replace(/.{6}(?=.)/g, "$& ");
  return `[${accented}${more}]`;
}

/** Make a catalogue in no language, which shows what is not translated and what does not fit (`en-XA`). */
export function pseudo<T>(catalogue: T): T {
  if (typeof catalogue === "string") return stretched(catalogue) as T;
  if (typeof catalogue === "function") {
    return ((...given: unknown[]) => pseudo((catalogue as (...given: unknown[]) => unknown)(...given))) as T;
  }
  if (Array.isArray(catalogue)) return catalogue.map((each: unknown) => pseudo(each)) as T;
  const entries = Object.entries(catalogue as Record<string, unknown>);
  return Object.fromEntries(entries.map(([name, value]) => [name, pseudo(value)])) as T;
}
