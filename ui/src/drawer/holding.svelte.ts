import type { Attachment } from "svelte/attachments";
import type { SecretDraft } from "./secret-draft.svelte";

/** Show a draft in its field. Emptied when it goes: an event that the page still knows of keeps its target alive. */
export function holding(draft: SecretDraft): Attachment<HTMLInputElement | HTMLTextAreaElement> {
  return (element) => {
    $effect(() => {
      if (element.value !== draft.value) element.value = draft.value;
    });
    return () => (element.value = "");
  };
}
