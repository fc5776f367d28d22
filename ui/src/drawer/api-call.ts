import type { JsonObject } from "../form/json";

/** Write the save of an override as a command for a shell. The token is the shell's own, and no secret is in it. */
export function apiCall(server: string, key: string, config: JsonObject): string {
  const url = `${server}/api/organizations/current/providers/${encodeURIComponent(key)}/config`;
  const body = JSON.stringify({ config });
  return [
    `curl -X PUT ${quoted(url)}`,
    `-H "Authorization: Bearer $VOXPLANE_TOKEN"`,
    `-H 'Content-Type: application/json'`,
    `--data ${quoted(body)}`,
  ].join(" \\\n  ");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
