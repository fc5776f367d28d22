import { execFileSync } from "node:child_process";
import path from "node:path";
import type { TestProject } from "vitest/node";
import type { Provider } from "../src/api/client";

declare module "vitest" {
  interface ProvidedContext {
    /** The catalogue's entries by key, with a provider that has every kind of setting: `reference`. */
    definitions: Record<string, Provider>;
  }
}

/** Ask Python for the definitions as they are now: a copy of them would soon be another catalogue. */
export default function setup(project: TestProject): void {
  const root = path.resolve(import.meta.dirname, "../..");
  const python = path.join(root, ".venv/bin/python");
  const printed = execFileSync(python, ["-m", "tests.console.reference"], {
    cwd: root,
    maxBuffer: 64 * 1024 * 1024,
  });
  project.provide("definitions", JSON.parse(printed.toString()) as Record<string, Provider>);
}
