import { promises as files } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { brotliCompress, gzip } from "node:zlib";
import type { Plugin, Rolldown } from "vite";

const packGzip = promisify(gzip);
const packBrotli = promisify(brotliCompress);
const PACKED = /\.(js|css|svg|html)$/;

/** What the browser may load before the first screen, in bytes after gzip. */
export interface Budget {
  js: number;
  css: number;
}

/** Write every file compressed beside itself, and fail the build when the first load outgrows its budget. */
export function packed(budget: Budget): Plugin {
  return {
    name: "packed",
    apply: "build",
    async writeBundle(options, bundle) {
      const folder = options.dir ?? ".";
      const sizes = new Map<string, number>();
      for (const name of Object.keys(bundle).filter((each) => PACKED.test(each))) {
        const plain = await files.readFile(path.join(folder, name));
        const zipped = await packGzip(plain, { level: 9 });
        await files.writeFile(path.join(folder, `${name}.gz`), zipped);
        await files.writeFile(path.join(folder, `${name}.br`), await packBrotli(plain));
        sizes.set(name, zipped.length);
      }
      const first = firstLoad(bundle);
      const total = (suffix: string) =>
        [...first]
          .filter((name) => name.endsWith(suffix))
          .reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0);
      const found = { js: total(".js"), css: total(".css") };
      this.info(`first load: ${found.js} B of scripts and ${found.css} B of styles after gzip`);
      for (const kind of ["js", "css"] as const) {
        if (found[kind] > budget[kind]) {
          this.error(
            `The first load has ${found[kind]} B of ${kind} after gzip, and may have ${budget[kind]} B.`,
          );
        }
      }
    },
  };
}

/** The entry, all that it imports before it runs, and their styles. */
function firstLoad(bundle: Rolldown.OutputBundle): Set<string> {
  const found = new Set<string>();
  const visit = (name: string) => {
    const chunk = bundle[name];
    if (chunk?.type !== "chunk" || found.has(name)) return;
    found.add(name);
    for (const style of chunk.viteMetadata?.importedCss ?? []) found.add(style);
    chunk.imports.forEach(visit);
  };
  for (const [name, chunk] of Object.entries(bundle))
    if (chunk.type === "chunk" && chunk.isEntry) visit(name);
  return found;
}
