import { STORED } from "../session.svelte";

const WAITED_FOR = "voxplane.sign-in-again";

/**
 * Have somebody sign in with the identity provider in a window of its own: this page, with all that was typed, stays.
 *
 * The two tell each other by a channel whose name only they know: after the identity provider's page the browser
 * keeps them apart (Cross-Origin-Opener-Policy). Returns how to listen no longer; null when no window was opened.
 */
export function signInElsewhere(onToken: (token: string) => void): (() => void) | null {
  const opened = window.open("", "_blank", "popup,width=560,height=720");
  if (opened === null) return null;
  const name = `${WAITED_FOR}.${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
  // It begins with a copy of what this tab keeps, of which the token is no longer known.
  opened.sessionStorage.removeItem(STORED);
  opened.sessionStorage.setItem(WAITED_FOR, name);
  const channel = new BroadcastChannel(name);
  channel.onmessage = ({ data }) => onToken(String(data));
  opened.location.href = "/api/sign-in/oidc";
  return () => channel.close();
}

/** What takes the token in the place of this window, when this one was opened to sign in for another. */
export function waiting(): { signIn: (token: string) => void } | null {
  const name = sessionStorage.getItem(WAITED_FOR);
  if (name === null) return null;
  return {
    signIn: (token) => {
      sessionStorage.removeItem(WAITED_FOR);
      const channel = new BroadcastChannel(name);
      channel.postMessage(token);
      channel.close();
      window.close();
    },
  };
}
