import type { Plugin } from "vite";

const DRAWN = /\/@lucide\/svelte\/dist\/icons\/[\w-]+\.svelte$/;
const NODES = /const iconData = (\{.*\});/;

/**
 * Make each of the icons one piece of markup.
 *
 * As they come they put themselves together when they are shown, attribute by attribute: with a hundred rows the page
 * stood still for 62 ms at the first load, and for less than 50 without that (`benchmarks/console.py`). What they take
 * is a class; none of them says anything.
 */
export function icons(): Plugin {
  return {
    name: "icons",
    enforce: "pre",
    transform(source, id) {
      if (!DRAWN.test(id)) return null;
      const [, written] = NODES.exec(source) ?? [];
      if (written === undefined) this.error(`${id} is not written as the icons were before`);
      const { node } = JSON.parse(written) as { node: [string, Record<string, string>][] };
      const parts = node.map(([tag, attributes]) => {
        const all = Object.entries(attributes).map(([name, value]) => ` ${name}="${value}"`);
        return `<${tag}${all.join("")} />`;
      });
      return `<script>const { class: given = null } = $props();</script><svg xmlns="http://www.w3.org/2000/svg" width="24"
        height="24" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round"
        stroke-linejoin="round" class={given} aria-hidden="true">${parts.join("")}</svg>`;
    },
  };
}
