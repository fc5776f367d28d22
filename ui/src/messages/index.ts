import { en, type Messages } from "./en";
import { pseudo } from "./pseudo";

/** The languages that the console speaks; the browser's preference decides. */
const catalogues: Record<string, Messages> = { en, "en-xa": pseudo(en) };

function preferred(): [string, Messages] {
  for (const language of navigator.languages) {
    const name = language.toLowerCase();
    const found = catalogues[name] ?? catalogues[name.split("-")[0] ?? name];
    if (found !== undefined) return [language, found];
  }
  return ["en", en];
}

const [language, found] = preferred();

/** What the console says, in the person's language. */
export const text: Messages = found;
/** The language for numbers and dates. */
export const locale: string = language.toLowerCase() === "en-xa" ? "en" : language;

const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", year: "numeric" });
const exact = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });

export const formatClock = (time: Date): string => clock.format(time);
export const formatDay = (time: Date): string => day.format(time);
/** Write a day of the calendar, such as 2027-01-31, which is the same day everywhere. */
export const formatDate = (date: string): string => formatDay(new Date(`${date}T00:00`));
export const formatExact = (time: Date): string => exact.format(time);
/** What the server says, with its days in the form that all days have here. */
export const withDays = (said: string): string =>
  said.replace(/(?<= on )\d{4}-\d{2}-\d{2}\b/g, (date) => formatDate(date));

const list = new Intl.ListFormat(locale, { type: "conjunction" });
export const formatList = (items: readonly string[]): string => list.format(items);

/** Say how long ago something was, in the largest unit that fits. */
export function formatAgo(time: Date, now: number): string {
  const seconds = Math.round((time.getTime() - now) / 1000);
  if (Math.abs(seconds) < 60) return relative.format(0, "minute").replace(/^this minute$/, "just now");
  const minutes = Math.round(seconds / 60);
  if (Math.abs(minutes) < 60) return relative.format(minutes, "minute");
  const hours = Math.round(minutes / 60);
  return Math.abs(hours) < 24
    ? relative.format(hours, "hour")
    : relative.format(Math.round(hours / 24), "day");
}
