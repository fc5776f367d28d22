/** What is wrong with one setting: where, and what would be valid. */
export interface Finding {
  pointer: string;
  message: string;
}
