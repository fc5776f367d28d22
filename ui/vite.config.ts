import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";
import { icons } from "./icons.ts";
import { packed } from "./packed.ts";

export default defineConfig({
  plugins: [icons(), svelte(), packed({ js: 95_000, css: 8_000 })],
  build: {
    outDir: "../src/voxplane/server/static",
    emptyOutDir: true,
    target: "es2022",
    // An asset in the page itself would need a policy that allows it.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // How long plugins take is of interest to whoever writes one, and reads like a warning to who builds.
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  test: { include: ["tests/**/*.test.ts"], globalSetup: ["tests/definitions.ts"] },
  server: { proxy: { "/api": "http://127.0.0.1:5005" } },
});
