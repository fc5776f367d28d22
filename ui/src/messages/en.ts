import type { ProviderType } from "../api/client";
import type { Form } from "../form/pattern";

const types: Record<ProviderType, string> = {
  llm: "Language models",
  tts: "Text to speech",
  stt: "Speech to text",
};
const oneOf: Record<ProviderType, string> = { llm: "language model", tts: "voice", stt: "transcript" };
const unavailable: Record<ProviderType, string> = {
  llm: "No language model will be available: calls cannot be answered.",
  tts: "No text to speech will be available: callers will hear nothing.",
  stt: "No speech to text will be available: callers will not be understood.",
};

const wholeInDigits = "Use digits alone, as in 2000.";
const withoutThousands = "Leave out what separates thousands, and put a point before decimals, as in 2000.5.";

/** A model or voice that was replaced, with which other settings, in which version. */
interface Replaced {
  before: string;
  after: string;
  others: string;
  revision: number;
}
/** What a number may be: "a whole number from 1 to 100 tokens". */
interface NumberRange {
  isWhole: boolean;
  unit: string;
  low: number | null;
  isAbove: boolean;
  high: number | null;
  isBelow: boolean;
}
function range({ isWhole, unit, low, isAbove, high, isBelow }: NumberRange): string {
  const what = isWhole ? "a whole number" : "a number";
  const of = unit ? ` ${unit}` : "";
  if (low !== null && high !== null && !isAbove && !isBelow) return `${what} from ${low} to ${high}${of}`;
  const bounds = [
    low === null ? null : isAbove ? `above ${low}` : `of at least ${low}`,
    high === null ? null : isBelow ? `below ${high}` : `of at most ${high}`,
  ].filter((each) => each !== null);
  return [what, bounds.join(" and ")].filter(Boolean).join(" ") + of;
}
function count(low: number, high: number | null, one: string, many: string): string {
  if (high === null) return `at least ${low} ${low === 1 ? one : many}`;
  return `${low > 0 ? `${low} to ${high}` : `at most ${high}`} ${high === 1 ? one : many}`;
}
/** What a text is made of: "15 to 32 letters and digits", "org- and then letters, digits, _ and -". */
function form({ beginning, kinds, marks, low, high }: Form): string {
  const parts = [...kinds, ...marks];
  const named = parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
  const many =
    low === 1 && high === null
      ? ""
      : high === low
        ? `${low} `
        : high === null
          ? `at least ${low} `
          : `${low} to ${high} `;
  return `${beginning === "" ? "" : `${beginning} and then `}${many}${named}`;
}
/** What can be done, as the audit log calls it: each word stands for what was done and for what was refused. */
const actions: Record<string, string> = {
  "config.put": "Change settings",
  "config.restore": "Restore a version",
  "config.delete": "Remove settings",
  "order.put": "Change the order",
  "secrets.put": "Change secrets",
  "secrets.delete": "Remove secrets",
  "secrets.release": "Give out keys",
  "token.create": "Create a token",
  "token.revoke": "Revoke a token",
  "organization.create": "Create the organization",
  "organization.rename": "Rename the organization",
  "legacy.import": "Import from the old system",
  "legacy.finish": "Finish the import",
  "denials.collapsed": "Further refusals",
};
/** What keys were given out for, if one was needed: to a worker, unless the record names another purpose. */
const purposes: Record<string, string> = {
  worker: "Give settings and keys to a worker",
  verification: "Test a provider",
  list: "List models or voices",
};
/** Parts of a setting's name that are no words. */
const initials = /\b(api|id|url|ssml|llm|tts|stt)\b/g;
function spoken(name: string): string {
  // What is chosen by an id is called by what it is.
  const words = name
    .replace(/(?<=[a-z])Id$/, "")
    .replace(/([A-Z])/g, " $1")
    .replaceAll("_", " ")
    .toLowerCase()
    .trim();
  return words.replace(initials, (each) => each.toUpperCase());
}
const refusals: Record<string, string> = {
  permission_denied: "The role does not allow it",
  destination_change_requires_admin_secrets: "It would send calls to an address that is not approved",
  destination_unapproved: "The address in the settings is not approved",
  restore_refused: "The old settings no longer fit",
};
const parts: Record<string, string> = {
  config: "settings",
  is_enabled: "on or off",
  priority: "priority",
};
const settings = (n: number) => (n === 1 ? "1 setting" : `${n} settings`);

export const en = {
  product: "Voxplane",
  types: (type: ProviderType) => types[type],
  typeSentence: (type: ProviderType) => types[type].toLowerCase(),
  common: {
    retry: "Retry",
    reload: "Reload the page",
    waiting: (seconds: number) => `Retry in ${seconds} s`,
    cancel: "Cancel",
    close: "Close",
    dismiss: "Close this note",
    request: (id: string) => `Request ${id}`,
    on: "On",
    off: "Off",
    local: "Local",
    loading: "Loading",
  },
  errors: {
    unreachable: "The server did not answer. Check the connection, then retry.",
    unloaded:
      "This part of the page could not be loaded. Retry; after an upgrade of the server, reload the page.",
    noToken:
      "The app around this page could not sign you in. Retry; if it stays, tell those who run that app.",
    forbidden: "Your role does not allow this. Ask an administrator of the organization.",
    notFound: "This no longer exists. Go back to the overview.",
    tooMany: (seconds: number) => `Too many requests: the server takes the next one in ${seconds} s.`,
    server: "The server had an internal error. Retry; if it stays, send the request id to your operator.",
    unavailable: "The server cannot reach its database. Nothing was changed. Retry in a moment.",
  },
  header: {
    live: "Live",
    connecting: "Connecting",
    reconnecting: "Reconnecting…",
    offline: "Offline",
    liveHelp: "Changes that others make appear here at once.",
    signOut: "Sign out",
    menu: "Account and theme",
    theme: "Theme",
    themes: { system: "Follow the system", light: "Light", dark: "Dark" },
    roles: { admin: "Secrets admin", writer: "Writer", reader: "Reader" },
    skip: "Skip to content",
  },
  signIn: {
    title: "Sign in",
    lead: "Paste an access token of your organization.",
    token: "Access token",
    keep: "Keep me signed in in this tab",
    keepHelp: "The token is kept until the tab is closed, and nowhere else.",
    button: "Sign in",
    withProvider: (name: string) => `Sign in with ${name}`,
    orToken: "Or paste an access token of your organization.",
    denied: "The identity provider did not let you in.",
    noAnswer: "The identity provider does not answer. Try again, or use a token.",
    notBegun: "This sign-in was begun in another browser, is too old, or was finished before. Begin again.",
    waiting: "Signing in…",
    refused: "This token is not known. It may have expired or been revoked; create another one.",
    otherOrganization:
      "This token is of another organization. Sign out to go there; here, use one of the same organization.",
    expired: "This link was used before or is too old. Create a token instead.",
    how: "A token can be made with this command, on the machine that runs Voxplane:",
    command: "voxplane token create --administrator",
    fromSource: "If it was started with make run, this one does the same, in the folder of the source:",
    commandFromSource: "make token",
    again: "Sign in again",
    handedOver: "You are signed in again. Close this window and go on in the one before.",
    elsewhere: "Sign in in the window that opened. What is here stays as it is.",
    noWindow: "The browser opened no window. Allow it for this page, or paste a token.",
    againLead:
      "Your token is no longer known. What you typed is kept: sign in, and what you were saving is saved.",
  },
  palette: {
    title: "Go to a provider, or do something",
    keys: ["Ctrl", "K"],
    nothing: "Nothing has this name.",
    turnOn: (name: string) => `Turn on ${name}`,
    turnOff: (name: string) => `Turn off ${name}`,
    setKey: (name: string, isSet: boolean) => `${isSet ? "Replace" : "Set"} the key of ${name}`,
    promote: (name: string, type: string) => `Make ${name} primary for ${type}`,
    history: (name: string) => `History of ${name}`,
    theme: (name: string) => `Theme: ${name}`,
  },
  shortcuts: {
    title: "Keyboard shortcuts",
    keys: [
      { keys: ["/"], does: "Search providers" },
      { keys: ["j", "k"], does: "Next or previous provider" },
      { keys: ["Enter"], does: "Open the provider" },
      { keys: ["t"], does: "Test the provider" },
      { keys: ["Alt", "↑"], does: "Move the provider up" },
      { keys: ["Alt", "↓"], does: "Move the provider down" },
      { keys: ["Ctrl", "K"], does: "Go to a provider, or do something" },
      { keys: ["Esc"], does: "Close what is open" },
      { keys: ["?"], does: "This list" },
    ],
    single: "Single-letter keys",
    singleHelp: "Keys without Ctrl or Alt do something while nothing is being typed.",
  },
  overview: {
    title: "Providers",
    search: "Search providers",
    status: "Status",
    anyStatus: "Any status",
    anyType: "All types",
    type: "Type",
    nextCall: "Next call goes to",
    nextCallNobody: "No provider can answer the next call",
    order: (type: ProviderType) => `${types[type]} in the order in which they answer`,
    offOf: (type: ProviderType) => `${types[type]} that are off`,
    primary: "Primary",
    fallback: (n: number) => `Fallback ${n}`,
    ifItFails: "if it fails",
    tie: (name: string) => `same priority as ${name}, ordered by name`,
    priority: (n: number) => `Priority ${n}`,
    moveUp: (name: string) => `Move ${name} up`,
    moveDown: (name: string) => `Move ${name} down`,
    up: "Up",
    down: "Down",
    setUp: "Set up",
    setUpName: (name: string) => `Set up ${name}`,
    turnOn: (name: string) => `${name} on`,
    passedOver: (next: string | null) =>
      next === null ? "Cannot be used, and no other one can answer" : `Cannot be used: calls go to ${next}`,
    moved: (name: string, position: number, of: number, isPrimary: boolean) =>
      `${name} moved to position ${position} of ${of}${isPrimary ? ", now primary" : ""}`,
    turnedOn: (name: string) => `${name} is on`,
    turnedOff: (name: string) => `${name} is off`,
    notMoved: (name: string, why: string) => `${name} was not moved. ${why}`,
    notSwitched: (name: string, why: string) => `${name} was not changed. ${why}`,
    attention: (n: number) => (n === 1 ? "1 provider needs attention" : `${n} providers need attention`),
    attentionItem: (name: string, what: string) => `${name}: ${what}.`,
    attentionMore: (n: number) => `and ${n} more`,
    show: (n: number) => (n === 1 ? "Show it" : "Show them"),
    mend: { config: "Open configuration", credentials: "Open credentials" },
    unusablePrimary: (name: string, type: string, reason: string, next: string | null) =>
      `${name} is primary for ${type} and cannot be used: ${reason}. ${
        next === null ? "No other one can answer." : `Calls go to ${next}.`
      }`,
    emptyType: (type: ProviderType) => `No ${types[type].toLowerCase()} is turned on.`,
    emptyHelp: (type: ProviderType, local: string | null) =>
      local === null
        ? `Turn one on to give calls a ${oneOf[type]}.`
        : `Turn one on to give calls a ${oneOf[type]}. ${local} works without a key.`,
    noMatch: (text: string) => `No provider matches ‘${text}’.`,
    noMatchStatus: "No provider has this status.",
    needsAttention: "Needs attention",
    clear: "Clear filters",
    lastTitle: (name: string) => `Turn off ${name}?`,
    lastBody: (type: ProviderType) => unavailable[type],
    lastOfNone: (name: string) =>
      `${name} cannot be used now, and no other one is on: nothing changes for calls.`,
    lastConfirm: (name: string) => `Turn off ${name}`,
    keep: "Keep it on",
    turnOnAnyway: "Turn on anyway",
    finish: {
      credentials: (name: string) => `Set the API key to finish turning on ${name}.`,
      config: (name: string) => `Fill in what is needed, then save, to finish turning on ${name}.`,
    },
    loadFailed: "The providers could not be loaded.",
    offline: (time: string) =>
      `Offline. Showing data from ${time}. Changes can be saved when the connection is back.`,
    stale: (time: string) =>
      `Showing data from ${time}: what changed since does not arrive. It comes by itself when the connection is back.`,
    notRenewed: "What is shown may be old: the providers could not be read again.",
    ends: (when: string) => `ends ${when}`,
    ended: (when: string) => `ended ${when}`,
    endsSometime: { deprecated: "deprecated", ended: "ended" },
    ofModel: (model: string, what: string) => `${model} ${what}`,
    turnOnLocal: (name: string) => `Turn on ${name}`,
  },
  imported: {
    title: (n: number) =>
      n === 1
        ? "The import left 1 thing for you to look at"
        : `The import left ${n} things for you to look at`,
    lead: (when: string, who: string) =>
      `Settings and keys of the old system were brought here on ${when} by ${who}. This is where something stood in the old configuration, and what became of it.`,
    outcomes: {
      moved: "Moved",
      converted: "Converted",
      clamped: "Changed to what is allowed",
      left: "Left behind",
      unknown: "Not known here",
    },
    became: (setting: string, value: string) => `${setting} is ${value} now.`,
    open: (name: string) => `Open ${name}`,
    all: (n: number) => `Show all ${n}`,
    fewer: "Show fewer",
    done: "Done, hide this",
    isDone: "What the import left is done",
    notDone: "It could not be hidden.",
  },
  status: {
    verified: "Verified",
    unverified: "Unverified",
    failing: "Failing",
    retired: "No longer offered",
    secrets_missing: "Key missing",
    invalid_config: "Settings need attention",
    destination_unapproved: "Address not approved",
    undecryptable: "Key cannot be opened",
  },
  notConfigured: "Not configured",
  reasons: {
    disabled: "turned off",
    retired: "no longer offered by this installation",
    secrets_missing: "API key missing",
    invalid_config: "its settings need attention",
    destination_unapproved: "its address is not approved",
    undecryptable: "its stored key cannot be opened",
  },
  failures: {
    authentication: "key rejected",
    permission: "key not allowed to do this",
    quota: "quota used up",
    rate_limit: "too many requests",
    invalid_request: "request refused",
    unavailable: "not installed on the worker",
    unsupported: "unknown to the worker's release",
    server: "error at the provider",
    timeout: "no answer in time",
    connectivity: "not reachable",
  },
  since: (time: string) => `since ${time}`,
  verification: {
    title: "Last test",
    test: "Test",
    testConnection: "Test connection",
    testName: (name: string) => `Test ${name}`,
    /** What is on the button comes first, so that it can be said to press it. */
    named: (label: string, name: string) => `${label} ${name}`,
    running: "Testing",
    testing: (name: string) => `Testing ${name}`,
    asking: (name: string) => `Asking ${name}…`,
    wait: (seconds: number) => `Wait ${seconds} s`,
    waitName: (name: string, seconds: number) => `Wait ${seconds} s to test ${name} again`,
    http: (status: number) => `HTTP ${status}`,
    notTested: (name: string, why: string) => `${name} was not tested. ${why}`,
    checked: "Tested",
    checkedDraft: "These changes were tested, and nothing of them was stored,",
    by: (who: string) => `by ${who}`,
    milliseconds: (n: number) => `${n} ms`,
    stages: "Stages of the test",
    /** A stage that passed says so; any other is named, and its state stands beside it. */
    stagePassed: {
      settings: "Settings valid",
      reachable: "Reachable",
      key: "Key accepted",
      model: "Model available",
    },
    stage: { settings: "Settings", reachable: "Connection", key: "Key", model: "Model" },
    state: { passed: "passed", failed: "failed", inconclusive: "not known", skipped: "not tested" },
    details: "Details",
    close: "Close what the test found",
    outcome: "Outcome",
    status: "Answer",
    origin: "Address",
    steps: {
      none: "",
      set_key: "Set the key",
      replace_key: "Replace the key",
      open_console: "Open the provider's page",
      open_billing: "Open the provider's page",
      choose_model: "Choose a model",
      check_settings: "Check the settings",
      check_network: "",
      try_again: "",
      start_server: "How to start it",
      contact_admin: "Copy for your administrator",
    },
    approve: "Approve the address",
    again: "Check again",
    jump: (setting: string) => `Go to ${setting}`,
    toAdmin: (name: string, sentence: string, outcome: string, origin: string | null, at: string) =>
      `${name}: ${sentence} (${outcome}${origin === null ? "" : `, ${origin}`}, ${at})`,
    copied: "What the test found is copied. It holds no key.",
    notCopied: "The browser did not allow copying. Select the text and copy it:",
    outcomes: {
      verified: "works",
      key_missing: "key missing",
      key_rejected: "key rejected",
      key_restricted: "key restricted",
      quota: "no credit left",
      rate_limited: "requests limited",
      wrong_region_or_endpoint: "wrong address",
      model_unavailable: "model not available",
      unreachable: "not reachable",
      timeout: "no answer in time",
      tls: "connection not secure",
      provider_error: "error at the provider",
      blocked: "address not allowed",
      not_checkable: "cannot be tested",
      local_unavailable: "not running",
    },
    before: "Check it before saving",
    beforeHelp: "What you typed is sent to the provider, and not stored if that refuses it.",
    checking: "Checking",
    unchecked: (why: string) => `Saved, not checked: ${why}`,
    lastTest: (outcome: string) => `last test: ${outcome}`,
    notFromHere: "runs beside the workers, not tested from here",
    unfinished: "Settings incomplete",
    saveAnyway: "Save anyway",
    draft: "Test with these changes",
    draftTitle: "Test these changes",
    draftLead:
      "A stored key goes with saved settings only. Enter a key for this test: it is sent to the provider and not stored.",
    draftKey: (secret: string) => `The ${secret} for this test`,
    draftRun: "Run test",
    strip: (count: number, works: number, range: readonly [number, number] | null) =>
      `Of the last ${count} tests, ${works} passed${
        range === null ? "" : `, in ${range[0]} to ${range[1]} ms`
      }.`,
  },
  drawer: {
    offline: "Offline. What stands here comes when the connection is back.",
    tabs: {
      config: "Configuration",
      credentials: "Credentials",
      effective: "Effective config",
      history: "History",
    },
    back: "All providers",
    close: (name: string) => `Close ${name}`,
    notFound: "There is no such provider in this installation.",
    docs: "Documentation",
    pricing: "Pricing",
  },
  who: {
    token: (name: string) => `token “${name}”`,
    user: (name: string) => name,
    local: (name: string) => `${name} (on the server’s machine)`,
  },
  history: {
    lead: "Every change of the settings is a version. Restoring one makes a new version of it; keys, on and off, and the order stay as they are.",
    list: (name: string) => `Versions of ${name}, newest first`,
    version: (revision: number) => `v${revision}`,
    versionWhen: (revision: number, when: string) => `v${revision} · ${when}`,
    now: "now",
    none: (name: string) =>
      `Nothing was changed yet: ${name} runs with its defaults. The first change is the first version.`,
    becomes: "became",
    onOff: "On or off",
    priority: "Priority",
    settingsRemoved: "All settings removed: back to the defaults, off",
    restoredFrom: (revision: number) => `Restored from v${revision}`,
    unchanged: "The same settings as before",
    sameAsNow: "Same settings as now",
    defaultOf: (value: string) => `${value} (default)`,
    keysSet: (names: string, who: string) => `${names} set by ${who} (values are not kept here)`,
    keysReplaced: (names: string, who: string) => `${names} replaced by ${who} (values are not kept here)`,
    keysRemoved: (names: string, who: string) => `${names} removed by ${who}`,
    keysAllRemoved: (who: string) => `All keys removed by ${who}`,
    keysApproved: (who: string) => `Label or approved addresses of the keys changed by ${who}`,
    addressesApproved: (who: string) => `Approved addresses changed by ${who}`,
    addressesRemoved: (who: string) => `Approved addresses removed by ${who}`,
    compare: "Compare",
    compareName: (revision: number) => `Compare v${revision} with another version`,
    compareTitle: "Compare versions",
    compareFrom: "From",
    compareTo: "To",
    compareClose: "Close the comparison",
    same: "Both have the same settings.",
    gone: (revision: number) => `There is no version v${revision} of this provider.`,
    setting: "Setting",
    older: "Show older",
    loadFailed: "The history could not be loaded.",
    restore: (revision: number) => `Restore v${revision}`,
    restoreTitle: (revision: number, name: string) => `Restore v${revision} of ${name}?`,
    restoreLead: "This becomes a new version. Keys, on and off, and priority stay as they are.",
    present: "Now",
    afterwards: "After restoring",
    refused: (revision: number) => `v${revision} was not restored, because it no longer fits:`,
    refusedRest: "The rest can be restored without these settings:",
    refusedNothing: "Without these settings nothing would change.",
    restoreValid: "Restore the valid settings only",
    restored: (revision: number, name: string) => `v${revision} of ${name} is restored`,
    restoredPart: (revision: number, name: string) =>
      `The valid settings of v${revision} of ${name} are restored`,
    conflict: (name: string) =>
      `Somebody changed ${name} in the meantime. Look at what would change now, then restore again.`,
    undo: "Undo",
    undone: (name: string) => `Undone: ${name} has the settings that it had before`,
    notUndone: "This was not undone.",
  },
  activity: {
    title: "Activity",
    link: "Activity",
    back: "Providers",
    lead: "Who did what in this organization, newest first. What was refused is here too; values of keys never are.",
    ownOnly:
      "You see what you did yourself. For all of the organization, ask an administrator for the scope audit:read.",
    filters: "Filter the activity",
    who: "Who",
    anyone: "Anyone",
    you: (name: string) => `${name} (you)`,
    action: "Action",
    anyAction: "Any action",
    provider: "Provider",
    anyProvider: "Any provider",
    outcome: "Outcome",
    anyOutcome: "Any outcome",
    outcomes: { success: "Done", denied: "Refused" },
    since: "From",
    until: "To",
    clear: "Clear filters",
    time: "Time",
    summary: "Summary",
    table: "What was done, newest first",
    details: (action: string, time: string) => `${action}, ${time}: details`,
    actionWord: (action: string) => actions[action] ?? action.replaceAll("_", " "),
    actions,
    purposes,
    /** A setting or a secret, by the name that it has on record. */
    spoken,
    someSettings: (n: number) => settings(n),
    withoutKey: "Without a key",
    refusal: (code: string) => refusals[code] ?? code.replaceAll("_", " "),
    token: (id: string) => `Token ${id}`,
    changed: (of: readonly string[]) => of.map((each) => parts[each] ?? each),
    turned: (isOn: boolean) => (isOn ? "turned on" : "turned off"),
    nothingChanged: "The same as before",
    restoredFrom: (revision: number) => `v${revision} put back`,
    removed: "Back to the defaults, off",
    stored: (names: string) => `Stored: ${names}`,
    taken: (names: string) => `Removed: ${names}`,
    labelled: "Label or approved addresses",
    allSecrets: "All that were stored",
    left: (n: number) => (n === 1 ? "1 thing is left to a person" : `${n} things are left to a person`),
    released: (names: string) => `For ${names}`,
    withheld: (names: string) => `not for ${names}`,
    nothingReleased: "No provider has one",
    collapsed: (n: number) => (n === 1 ? "1 more, only counted" : `${n} more, only counted`),
    exact: "Exactly at",
    subject: "Identified by",
    number: "Place in the log",
    request: "Request",
    target: "Done to",
    record: "On record",
    change: "What changed",
    changeGone: "The history has no version of this change.",
    changeFailed: "What changed could not be loaded.",
    openHistory: (name: string) => `Open the history of ${name}`,
    openVersion: (revision: number, name: string) => `Open v${revision} in the history of ${name}`,
    onlyWho: (who: string) => `Only what ${who} did`,
    none: "Nothing is on record yet.",
    noneOwn: "Nothing that you did is on record yet.",
    backwards: "From is after To: there is no day between them.",
    noneFound: "Nothing on record is like this.",
    older: "Older",
    newest: "Newest",
    pages: "Pages of the activity",
    exportCsv: "Export CSV",
    exportJsonLines: "Export JSON Lines",
    exporting: "Exporting…",
    exported: (file: string) => `${file} is downloaded`,
    exportFailed: "Nothing was exported.",
    loadFailed: "The activity could not be loaded.",
  },
  retirement: {
    title: "What ends",
    changes: (n: number) => `${n} settings change together`,
    change: (setting: string, before: string, after: string, because: string | null) =>
      `${setting}: ${before} → ${after}${because === null ? "" : `. ${because}`}`,
    notUsed: "not used",
    replace: (name: string) => `Replace with ${name}`,
    /** What is on the button comes first, so that it can be said to press it. */
    replaceName: (label: string, provider: string) => `${label} for ${provider}`,
    see: "See its replacement",
    replaced: ({ before, after, others, revision }: Replaced) =>
      `${before} is replaced by ${after}${others === "" ? "" : `, and ${others} changed with it`}, in version ${revision}.`,
    history: "History",
  },
  effective: {
    lead: (name: string) => `What ${name} runs with: its defaults, with what you set on top.`,
    setting: "Setting",
    default: "Default",
    effective: "In force",
    afterSave: "After save",
    overridden: "Overridden",
    unsaved: "Unsaved",
    onlyDifferences: "Only differences",
    none: "Nothing differs from the defaults.",
    notUsed: "Not used",
    copy: "Copy JSON",
    copied: "The settings in force are copied",
    notCopied: "The browser did not allow copying. Select the text below instead.",
    secrets: "Secrets",
  },
  credentials: {
    lead: "Values can be replaced or removed, never read back.",
    none: (name: string) => `${name} needs no key.`,
    required: "Required",
    set: "Set",
    notSet: "Not set",
    version: (n: number) => `v${n}`,
    changed: "changed",
    by: (who: string) => `by ${who}`,
    sharers: (names: string) => `Also used by ${names}.`,
    shared: (from: string) => `The key of ${from} is used`,
    replace: "Replace",
    setOne: "Set",
    setOwn: "Set its own",
    remove: "Remove",
    label: "Label",
    editLabel: "Edit label",
    addLabel: "Add label",
    replaceNamed: (secret: string) => `Replace ${secret}`,
    setNamed: (secret: string) => `Set ${secret}`,
    removeNamed: (secret: string) => `Remove ${secret}`,
    setOwnNamed: (secret: string) => `Set its own ${secret}`,
    editLabelNamed: (secret: string) => `Edit label of ${secret}`,
    addLabelNamed: (secret: string) => `Add label to ${secret}`,
    labelOptional: "Label (optional)",
    labelHelp: "A name that tells you later which key this is. Everybody sees it.",
    labelAll: (names: string) => `The label is for all that is stored here: ${names}.`,
    newValue: (secret: string) => `New ${secret}`,
    show: "Show",
    hide: "Hide",
    save: (secret: string) => `Save ${secret}`,
    saveLabel: "Save label",
    stays: "The current one stays in use until you save.",
    enter: (secret: string) => `Enter the ${secret}.`,
    surplus: {
      space: "the space around it",
      quotes: "the quotes around it",
      bearer: "the word Bearer before it",
    },
    tidied: (parts: string) => `Taken off, as no part of it: ${parts}.`,
    leaveTitle: (secret: string) => `Discard the ${secret} that you typed?`,
    leaveBody: "It is not saved.",
    leave: "Discard it",
    idle: "What you typed was cleared, because nothing was typed for 5 minutes.",
    hint: (hint: string) => `${hint} Check that you copied the right one; you can save it all the same.`,
    chooseFile: "Choose a file",
    dropHere: "Paste the document, or drop the file here.",
    notADocument: "Paste the whole document, from { to }.",
    fileTooLarge: "This file is too large to be a key.",
    sentTo: "Where it may be sent",
    sentToHelp: "Calls and the stored key go to these addresses and no others.",
    unapproved: (origins: string) =>
      `The settings send calls to ${origins}. The stored key is not approved for that address, so no call can use it.`,
    unapprovedShared: (origins: string, from: string) =>
      `The settings send calls to ${origins}. The key of ${from} is not approved for that address: set a key of its own.`,
    approve: "Approve address",
    approveTitle: (origins: string) => `Send the stored key to ${origins}?`,
    approveBody: (name: string) =>
      `Whoever runs that address can read the key of ${name}. Approve it only if you know who that is.`,
    /** The same of a provider that has no key. */
    withoutKey: {
      sentTo: "Where calls may go",
      sentToHelp: "Calls go to these addresses and no others.",
      unapproved: (origins: string) =>
        `The settings send calls to ${origins}. That address is not approved, so no call goes there.`,
      approveTitle: (origins: string) => `Send calls to ${origins}?`,
      approveBody: (name: string) =>
        `Whoever runs that address gets what calls send to ${name}. Approve it only if you know who that is.`,
      askAdmin: "To have it approved, ask a secrets admin of your organization.",
    },
    removeApproved: "Remove approved addresses",
    removeApprovedTitle: (name: string) => `Remove the approved addresses of ${name}?`,
    removeApprovedBody: (origins: string | null) =>
      `${origins === null ? "No address is approved" : `Only ${origins} is approved`} then, until somebody approves another one.`,
    approveToo: (origin: string) => `May also be sent to ${origin}, where the settings point`,
    address: "Address that it may be sent to",
    addressHelp: "Such as https://my-resource.openai.azure.com. The key goes there and nowhere else.",
    mustApprove: "Say where it may be sent.",
    removeTitle: (secret: string, name: string) => `Remove the ${secret} of ${name}?`,
    removeGone: "The value is not kept anywhere: to use it again, it has to be entered again.",
    removeNoCalls: "No call is answered with it now.",
    lossNext: (name: string, rank: string, type: string, successor: string) =>
      `${name} is ${rank} for ${type} and answers the next call; calls will go to ${successor}.`,
    lossLast: (name: string, rank: string, type: string, consequence: string) =>
      `${name} is ${rank} for ${type} and answers the next call; no other one can. ${consequence}`,
    lossFallback: (name: string, rank: string, type: string) =>
      `${name} is ${rank} for ${type} and will be passed over.`,
    undecryptable: (name: string) =>
      `What is stored for ${name} cannot be opened, so no call can use it. Remove it, then enter the key again.`,
    retired: (name: string) => `${name} is no longer offered. What is stored for it can be removed.`,
    removeStored: "Remove what is stored",
    removeStoredTitle: (name: string) => `Remove all that is stored for ${name}?`,
    askAdmin: "To set, replace or remove a key, ask a secrets admin of your organization.",
    stored: (secret: string, name: string) => `The ${secret} of ${name} is stored`,
    removed: (secret: string, name: string) => `The ${secret} of ${name} is removed`,
    labelled: "The label is saved",
    notTurnedOn: (name: string) => `${name} was not turned on.`,
    conflict: (name: string) => `Somebody changed ${name} in the meantime.`,
    meanwhile: (
      what: "stored" | "labelled" | "removed",
      secret: string,
      who: string | null,
      label: string | null,
    ) => {
      const by = who ?? "Somebody";
      if (what === "removed") return `Somebody removed the ${secret} in the meantime.`;
      if (what === "stored")
        return `${by} stored another ${secret}${label === null ? "" : `, labelled “${label}”,`} in the meantime.`;
      return label === null
        ? `${by} took the label off the ${secret} in the meantime.`
        : `${by} labelled the ${secret} “${label}” in the meantime.`;
    },
    saveAgain: "Nothing was saved. To have yours all the same, save again.",
    labelAgain: "Nothing was saved. To label what is set now, save again.",
    removeAgain: "Nothing was removed. To remove what is set now, remove again.",
    notKept: (label: string) => `The present one's label, “${label}”, is not kept.`,
  },
  form: {
    standing: {
      default: "Default",
      unset: "Not set",
      overridden: "Overridden",
      pinned: "Overridden (same as default)",
      unsaved: "Unsaved",
    },
    resetTo: (value: string) => `Reset to default (${value})`,
    resetToNothing: "Reset to not set",
    resetName: (name: string, label: string) => `${name}: ${label}`,
    empty: "empty",
    useEmpty: "Use empty value",
    notSet: "Not set",
    range: (low: number, high: number) => `${low} to ${high}`,
    needed: "Needed",
    costly: "Affects price",
    deprecated: "Deprecated",
    advanced: "Advanced",
    advancedCount: (n: number, overridden: number, unsaved: number) =>
      [
        settings(n),
        ...(overridden > 0 ? [`${overridden} overridden`] : []),
        ...(unsaved > 0 ? [`${unsaved} unsaved`] : []),
      ].join(", "),
    general: "General",
    unavailable: (value: string) => `${value} (not available with these settings)`,
    add: "Add",
    addTo: (name: string) => `Add to ${name}`,
    remove: (value: string) => `Remove ${value}`,
    tagsHelp: "Enter adds what is typed.",
    slider: (name: string) => `${name}, slider`,
    openList: (name: string) => `Show the list for ${name}`,
    builtInList: "Built-in list. Any other name can be typed.",
    noList: "No list",
    noListYet: "No list yet. Any name can be typed.",
    storeKey: {
      models: (secret: string) => `Store the ${secret} to choose from your models`,
      voices: (secret: string) => `Store the ${secret} to choose from your voices`,
    },
    asking: (name: string, isBare: boolean) =>
      isBare ? `No list yet. Asking ${name}…` : `Built-in list. Asking ${name}…`,
    sources: { live: "Live list", cached: "Cached list", "built-in": "Built-in list" },
    fetched: "fetched",
    refresh: "Refresh",
    refreshing: "Asking…",
    refreshName: (field: string) => `Refresh the list for ${field}`,
    notWhole: "not all of it",
    listFailed: "The list could not be loaded. Any name can be typed.",
    unlisted: "Not in the provider's list",
    notListed: {
      not_offered: (name: string) => `${name} offers no list`,
      retired: (name: string) => `${name} is no longer offered`,
      sealed: () => "keys cannot be opened at the moment",
      invalid_config: () => "the settings are not valid",
      secrets_missing: () => "no key is set",
      destination_unapproved: () => "the address is not approved",
      undecryptable: () => "the stored key cannot be opened",
      too_often: () => "asked often enough for this minute",
      key_refused: (name: string) => `${name} refused the key`,
      key_restricted: (name: string) => `${name} does not let this key list them`,
      quota: (name: string) => `the account at ${name} has no credit left`,
      rate_limited: (name: string) => `${name} limits requests`,
      provider_error: (name: string) => `${name} answered with an error`,
      not_understood: (name: string) => `${name} answered with something else`,
      unreachable: (name: string) => `${name} could not be reached`,
      timeout: (name: string) => `${name} did not answer`,
      tls: (name: string) => `the connection to ${name} is not secure`,
      blocked: () => "the address is not allowed here",
    },
    preview: "Preview",
    previewName: (voice: string) => `Preview ${voice}`,
    stop: "Stop",
    stopPreview: (voice: string) => `Stop ${voice}`,
    noPreview: "There is no sample of this voice now.",
    useTyped: (value: string) => `Use ‘${value}’ (not in the list)`,
    models: {
      preview: "Preview",
      restricted: "Restricted",
      legacy: "Legacy",
      deprecated: "Deprecated",
      retired: "Retired",
      unverified: "Unverified",
    },
    ends: (when: string) => `ends ${when}`,
    ended: (when: string) => `ended ${when}`,
    successor: (name: string) => `successor: ${name}`,
    json: "JSON. The server checks it when you save.",
    jsonBroken: 'Write valid JSON, such as {"name": 1}.',
    jsonTwice: "An object names one field twice: keep one of them.",
    notAdded: "Add what you typed, or clear it.",
    notSent: (names: string) => `Not available with these settings, and not sent: ${names}.`,
    outdated: (names: string) =>
      `No longer a setting of this provider: ${names}. The next save leaves it out.`,
    locked: "This decides where the key is sent. Ask a secrets admin to change it.",
    lockedCalls: "This decides where calls are sent. Ask a secrets admin to change it.",
    theyReset: (who: string) => `${who} reset this to its default`,
    theySet: (who: string, value: string) => `${who} set this to ${value}`,
    useTheirs: "Use theirs",
    useTheirsName: (name: string) => `Use theirs for ${name}`,
    somebody: "Somebody else",
    wrong: {
      needed: "This setting is needed.",
      chooseOne: "Choose one.",
      notHere: "This setting is not available here.",
      choose: (choices: string) => `Choose one of: ${choices}.`,
      number: (given: NumberRange, isMarked = false) =>
        `Write ${range(given)}.${isMarked ? ` ${given.isWhole ? wholeInDigits : withoutThousands}` : ""}`,
      multiple: (of: number) => `Write a multiple of ${of}.`,
      text: "Write text.",
      exact:
        "Write a smaller number: only whole numbers up to 9007199254740991 are kept as they are written.",
      character:
        "Take out the characters that cannot be kept: NUL, half a character, and controls in a name.",
      length: (low: number, high: number | null) => `Write ${count(low, high, "character", "characters")}.`,
      items: (low: number, high: number | null) => `Give ${count(low, high, "value", "values")}.`,
      once: "Give each value once.",
      onOrOff: "Turn this on or off.",
      address: (example: string | null) =>
        `Write an address that starts with https://${example === null ? "" : `, such as ${example}`}.`,
      email: "Write an email address, such as name@example.com.",
      date: "Write a date as year-month-day, such as 2027-01-31.",
      duration: "Write a duration, such as PT30S for 30 seconds.",
      regex: "Write a regular expression.",
      line: "Write one line of text.",
      likeExample: (example: string) => `Write it in the form of this example: ${example}`,
      form: (given: Form) => `Write ${form(given)}.`,
      described: "Write it in the form that is described above.",
      shape: "Fill in what is described above.",
    },
  },
  configuration: {
    unsaved: (n: number) => (n === 1 ? "1 unsaved change" : `${n} unsaved changes`),
    discard: "Discard",
    save: "Save changes",
    saved: (name: string) => `${name}: changes saved`,
    savedTogether: (who: string, names: string) => `Saved together with ${who}'s change of ${names}.`,
    offline: "Offline. Saving is possible when the connection is back; what you typed is kept.",
    problems: (n: number) => (n === 1 ? "1 setting needs attention" : `${n} settings need attention`),
    leaveTitle: (n: number) => (n === 1 ? "Discard 1 unsaved change?" : `Discard ${n} unsaved changes?`),
    leaveBody: (name: string) => `What you changed for ${name} is not saved.`,
    leave: "Discard changes",
    stay: "Keep editing",
    changed: (who: string, names: string) => `${who} changed ${names}.`,
    conflictTitle: (who: string) => `${who} saved other values while you were editing`,
    conflictLead: "Choose what to keep, then save.",
    merged: (names: string) => `Merged automatically: ${names}.`,
    yours: "Yours",
    theirs: "Theirs",
    default: "Default",
    saveMerged: "Save merged version",
    discardMine: "Discard mine",
    order: "Order",
    priority: "Priority",
    priorityHelp: "Higher answers first. The arrows in the overview set it for all providers of a type.",
    menu: (name: string) => `More for ${name}`,
    resetAll: "Reset all to defaults",
    resetDone: (name: string) => `All settings of ${name} are back at their defaults.`,
    undo: "Undo",
    undone: (name: string) => `${name}: the settings are as they were`,
    copyCall: "Copy as API call",
    copied: "The API call is copied. It holds no token and no key.",
    notCopied: "The browser did not allow copying. Select the call and copy it:",
    setPrimary: "Set as primary",
    nowPrimary: (name: string) => `${name} is primary now`,
    keyTitle: "Enter the key for the new address",
    keyLead: (names: string) =>
      `${names} decides where the key is sent, so the stored key does not go there. It is stored again with your save, for the new address only.`,
    keySharers: (names: string, count: number) =>
      count === 1
        ? `${names} uses this key too. With other addresses in its settings it cannot be used any more, until it has a key of its own.`
        : `${names} use this key too. With other addresses in their settings they cannot be used any more, until each has a key of its own.`,
    keyOwed: "The key for the new address is not stored yet",
    keyNeeded: "Enter the key: the stored one is not sent to a new address.",
    nothingSaved: (why: string) => `Nothing is saved. ${why}`,
    changedMeanwhile:
      "Nothing is saved: the settings changed after the key was typed. Look at where calls are sent, then save again.",
    keyNotSaved: (why: string) =>
      `The settings are saved, the key is not. ${why} Until it is, this provider is not used.`,
    leadsElsewhere: (origins: string) =>
      `The key is not saved: somebody changed the settings in the meantime, and calls now go to ${origins}. To have it sent there, save again.`,
  },
};

export type Messages = typeof en;
