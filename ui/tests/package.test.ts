import { globSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import own from "../package.json";

test("who installs the package has all that its sources import", () => {
  const named = new Set([...Object.keys(own.dependencies), ...Object.keys(own.peerDependencies)]);
  const imported = globSync("src/**/*.{ts,svelte}").flatMap((file) =>
    [...readFileSync(file, "utf8").matchAll(/(?:from |import\()"((?:@[^/"]+\/)?[^./"][^/"]*)[^"]*"/g)].map(
      (found) => found[1],
    ),
  );
  expect(new Set(imported)).toEqual(named);
});

test("it has the version of the Python package", () => {
  const pyproject = readFileSync("../pyproject.toml", "utf8");
  expect(own.version).toBe(/^version = "(.*)"$/m.exec(pyproject)?.[1]);
});

test("who installs it is told how the dev server of another app takes its sources", () => {
  const documented = readFileSync("../docs/console.md", "utf8");
  expect(documented).toContain(`optimizeDeps: { exclude: ["${own.name}"] }`);
  // Modules of Svelte in TypeScript are what the dev server would fail on; without any, there is nothing to tell.
  expect(globSync("src/**/*.svelte.ts")).not.toHaveLength(0);
});
