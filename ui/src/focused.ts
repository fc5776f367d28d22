/** Put the focus on what has just appeared because somebody asked for it. */
export function focused(element: HTMLElement): void {
  element.focus();
}
