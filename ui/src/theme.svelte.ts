const STORED = "voxplane.theme";
export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

function stored(): Theme {
  const found = localStorage.getItem(STORED);
  return THEMES.find((theme) => theme === found) ?? "system";
}

/** Light, dark, or as the system has it. Remembered on this machine: it says nothing about anybody. */
class ThemeChoice {
  #chosen = $state<Theme>(stored());

  get chosen(): Theme {
    return this.#chosen;
  }

  choose(theme: Theme): void {
    this.#chosen = theme;
    localStorage.setItem(STORED, theme);
    this.apply();
  }

  apply(): void {
    if (this.#chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.#chosen;
  }
}

export const theme = new ThemeChoice();
