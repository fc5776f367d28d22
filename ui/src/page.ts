/** The pages in this document, in the order in which they were mounted. */
const mounted: Page[] = [];
let usedLast: Page | null = null;

/** One of the pages in a document: the first has the address bar, and the one that was used last has the keys. */
export class Page {
  #parts: readonly Element[] = [];

  get hasAddress(): boolean {
    return mounted.length === 0 || mounted[0] === this;
  }

  get hasKeys(): boolean {
    return usedLast === null ? this.hasAddress : usedLast === this;
  }

  /** The elements that it is in; the whole document's, where it has not said which. */
  get parts(): readonly Element[] {
    return this.#parts.length > 0 ? this.#parts : [document.documentElement];
  }

  /** Its elements that match, in order. */
  all(selector: string): HTMLElement[] {
    return this.parts.flatMap((part) => [...part.querySelectorAll<HTMLElement>(selector)]);
  }

  /** Be there, in these elements, until the returned function is called. */
  mount(...parts: readonly Element[]): () => void {
    this.#parts = parts;
    mounted.push(this);
    const stop = new AbortController();
    const used = () => (usedLast = this);
    for (const part of this.parts)
      for (const sign of ["focusin", "pointerdown"])
        part.addEventListener(sign, used, { capture: true, signal: stop.signal });
    return () => {
      stop.abort();
      mounted.splice(mounted.indexOf(this), 1);
      if (usedLast === this) usedLast = null;
    };
  }
}
