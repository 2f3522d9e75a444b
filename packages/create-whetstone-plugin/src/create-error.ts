/** The details of a {@link CreateError}. */
export interface CreateErrorDetails {
  readonly expected?: string;
  readonly found?: string;
  readonly hint?: string;
  readonly cause?: unknown;
}

/**
 * An error that the user can correct: an invalid name or option, or a folder that exists. Formatted like the errors of
 * `whetstone`, which this package does not install.
 */
export class CreateError extends Error {
  override readonly name = 'CreateError';
  readonly expected: string | undefined;
  readonly found: string | undefined;
  readonly hint: string | undefined;

  constructor(
    readonly code: 'USAGE' | 'OUTPUT_EXISTS',
    message: string,
    { expected, found, hint, cause }: CreateErrorDetails = {},
  ) {
    super(message, { cause });
    this.expected = expected;
    this.found = found;
    this.hint = hint;
  }

  /** Returns the code, the message, and what was expected and found, on lines of their own. */
  override toString(): string {
    const lines = [`[${this.code}] ${this.message}`];
    if (this.expected !== undefined) lines.push(`  expected: ${this.expected}`);
    if (this.found !== undefined) lines.push(`  found:    ${this.found}`);
    if (this.hint !== undefined) lines.push(`  hint:     ${this.hint}`);
    return lines.join('\n');
  }
}
