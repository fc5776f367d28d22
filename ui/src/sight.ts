/** Have what has just appeared in sight; `scroll-margin` says what may stick to an edge and cover it. */
export function inSight(element: HTMLElement): void {
  element.scrollIntoView({ block: "nearest" });
}

/** Show a drawer from its beginning, where what was found last is said. */
export function toTop(within: Element | null | undefined): void {
  within?.closest(".drawer")?.scrollTo({ top: 0 });
}
