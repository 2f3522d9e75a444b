/** The output of a command: text for people, and one JSON object for programs. */
export interface Output {
  /** Writes a line of text. */
  line(text: string): void;
  /** Prints the JSON object if the caller wants one. */
  result(value: unknown): void;
}
