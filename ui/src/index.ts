/** What another Svelte app mounts: the whole page of providers, on its own API connection. */
export { default as ProvidersPage } from "./ProvidersPage.svelte";
