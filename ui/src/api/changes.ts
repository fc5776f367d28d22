/** One event of the organization's change stream. */
export interface ChangeEvent {
  id: string | null;
  kind: string;
  data: string;
}

/**
 * Read server-sent events from a response.
 *
 * `EventSource` would do it, but it cannot send an Authorization header. A line may be cut anywhere, also within a
 * character, and ends with any of the three line ends of the standard.
 */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ChangeEvent> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  let event = { id: null as string | null, kind: "message", data: [] as string[] };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (event.data.length > 0) yield { id: event.id, kind: event.kind, data: event.data.join("\n") };
          event = { id: null, kind: "message", data: [] };
          continue;
        }
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "event") event.kind = text;
        else if (name === "data") event.data.push(text);
        else if (name === "id") event.id = text;
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
