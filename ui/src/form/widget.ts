import type { Field } from "./profile";

/** What every input of a setting is given. */
export interface WidgetProps {
  field: Field;
  value: unknown;
  id: string;
  /** Where the name of a group of inputs stands. */
  labelId: string;
  describedBy: string | undefined;
  isInvalid: boolean;
  isLocked: boolean;
  /** Told what was entered; undefined when it was cleared. */
  onChange: (value: unknown) => void;
}

/** What a setting that has parts is given: each part is a setting by itself. */
export interface GroupProps {
  field: Field;
  value: unknown;
  id: string;
  labelId: string;
  describedBy: string | undefined;
  locked: string | null;
  isText: boolean;
  onChange: (value: unknown) => void;
}

/** The id of a setting's input in a page of this id: where a link to the setting leads. */
export function inputId(page: string, pointer: string): string {
  return `${page}setting${pointer.replace(/[^A-Za-z0-9]/g, "-")}`;
}
