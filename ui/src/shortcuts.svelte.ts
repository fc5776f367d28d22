const STORED = "voxplane.shortcuts";

/** Keys that do something by themselves, unless the person turned them off. Remembered on this machine. */
export class Shortcuts {
  #areOn = $state(localStorage.getItem(STORED) !== "off");
  readonly #actions = new Map<string, () => void>();

  get areOn(): boolean {
    return this.#areOn;
  }

  set areOn(value: boolean) {
    this.#areOn = value;
    if (value) localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, "off");
  }

  /** Have a key do something; returns how to take that away. */
  on(key: string, action: () => void): () => void {
    this.#actions.set(key, action);
    return () => {
      if (this.#actions.get(key) === action) this.#actions.delete(key);
    };
  }

  /** Do what a pressed key stands for, unless it is typed into something or a dialog has the floor. */
  pressed(event: KeyboardEvent): void {
    const action = this.#actions.get(event.key);
    if (!this.#areOn || action === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target as HTMLElement;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && target.getAttribute("role") !== "switch") return;
    if (target.isContentEditable || document.querySelector("[role=dialog], [role=alertdialog]")) return;
    event.preventDefault();
    action();
  }
}
