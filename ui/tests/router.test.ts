import { afterEach, expect, test, vi } from "vitest";
import { Router } from "../src/router.svelte";

afterEach(() => vi.unstubAllGlobals());

test.each([
  ["/providers/a%20b/credentials", { key: "a b", tab: "credentials" }],
  ["/providers/%E0%A4%A", { key: "%E0%A4%A", tab: "config" }],
  ["/activity", null],
])("the provider in %s", (pathname, provider) => {
  vi.stubGlobal("location", { pathname, search: "", href: `https://example.com${pathname}` });
  expect(new Router().provider).toEqual(provider);
});

test.each([
  ["/vox/providers/groq/config", "/providers/groq/config"],
  ["/vox", "/"],
  ["/voxother/providers", "/voxother/providers"],
])("below /vox, %s is the page's own %s", (pathname, path) => {
  vi.stubGlobal("location", { pathname, search: "", href: `https://example.com${pathname}` });
  expect(new Router("/vox").path).toBe(path);
});
