import type { DndEvent } from "svelte-dnd-action";
import { type Attachment, fromAction } from "svelte/attachments";
import type { OrganizationProvider } from "../api/client";

/** A row as the library knows it. While one is held, a row with an id of the library's own keeps its place. */
export interface Item {
  id: string;
  provider: OrganizationProvider;
}

/** Dragging the rows of one list by their handles, with a library that is loaded when a pointer comes near. */
export class Drag {
  #library = $state.raw<typeof import("svelte-dnd-action") | null>(null);
  #isOnHandle = $state(false);
  #isGivenUp = false;
  #held = $state.raw<Item[] | null>(null);

  /**
   * @param rest is the list while nothing is held.
   * @param isAllowed says whether a row may be held now.
   * @param onDrop is told what was held and the keys in their new order; `held` stands until it calls `release`.
   */
  constructor(
    private readonly rest: () => Item[],
    private readonly isAllowed: () => boolean,
    private readonly onDrop: (key: string, order: string[]) => void,
  ) {}

  get items(): Item[] {
    return this.#held ?? this.rest();
  }

  get isHeld(): boolean {
    return this.#held !== null;
  }

  get isReady(): boolean {
    return this.#library !== null;
  }

  release(): void {
    this.#held = null;
  }

  readonly list: Attachment<HTMLElement> = (node) => {
    const stop = new AbortController();
    const { signal } = stop;
    node.addEventListener("pointerenter", () => void this.#load(), { signal });
    // Held only by a handle: whatever else is pressed on a row is what it is anywhere.
    node.addEventListener(
      "pointerover",
      ({ target }) => {
        this.#isOnHandle = target instanceof Element && target.closest("[data-handle]") !== null;
      },
      { signal },
    );
    node.addEventListener(
      "consider",
      (event) => {
        if (this.#held === null) this.#isGivenUp = false;
        this.#held = (event as CustomEvent<DndEvent<Item>>).detail.items;
      },
      { signal },
    );
    node.addEventListener(
      "finalize",
      (event) => {
        const { items, info } = (event as CustomEvent<DndEvent<Item>>).detail;
        this.#held = items;
        this.#isOnHandle = false;
        if (this.#isGivenUp) return this.release();
        this.onDrop(
          String(info.id),
          items.map((each) => each.id),
        );
      },
      { signal },
    );
    addEventListener(
      "keydown",
      (event) => {
        if (event.key !== "Escape" || this.#held === null) return;
        this.#isGivenUp = true;
        // The library knows no other end than letting go.
        dispatchEvent(new MouseEvent("mouseup"));
      },
      { signal },
    );
    return () => stop.abort();
  };

  readonly zone: () => Attachment<HTMLElement> | null = () =>
    this.#library &&
    fromAction(this.#library.dndzone<Item>, () => ({
      items: this.items,
      dragDisabled: !this.#isOnHandle || !this.isAllowed(),
      autoAriaDisabled: true,
      zoneTabIndex: -1,
      zoneItemTabIndex: -1,
      dropTargetStyle: {},
      transformDraggedElement: lifted,
    }));

  async #load(): Promise<void> {
    if (!this.isAllowed()) return;
    try {
      this.#library ??= await import("svelte-dnd-action");
    } catch {
      // The handles stay away, the buttons move a row all the same, and the next pointer that comes near tries again.
    }
  }
}

/** Lift a row off the page. Its place says where it would be: the rank that it had is none any more. */
function lifted(row: HTMLElement | undefined): void {
  if (row === undefined) return;
  // It hangs at the end of the document, where an app around the page has no variables of ours.
  row.classList.add("voxplane");
  row.style.background = "var(--surface)";
  row.style.boxShadow = "var(--shadow)";
  row.style.listStyle = "none";
  for (const part of row.querySelectorAll<HTMLElement>(".link, .rank .word"))
    part.style.visibility = "hidden";
}
