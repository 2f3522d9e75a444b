/** The codes of a {@link CreateError}, which mean what they mean for errors of `whetstone`. */
export type CreateErrorCode = 'USAGE' | 'OUTPUT_EXISTS' | 'FILE_UNWRITABLE' | 'DISK_FULL' | 'TOO_MANY_FILES';

/** The details of a {@link CreateError}. */
export interface CreateErrorDetails {
  readonly expected?: string;
  readonly found?: string;
  readonly hint?: string;
  readonly cause?: unknown;
}

/**
 * An error that the user can correct: an invalid name or option, or a folder that exists or cannot be written.
 * Formatted like the errors of `whetstone`, which this package does not install.
 */
export class CreateError extends Error {
  override readonly name = 'CreateError';
  readonly expected: string | undefined;
  readonly found: string | undefined;
  readonly hint: string | undefined;

  constructor(
    readonly code: CreateErrorCode,
    message: string,
    { expected, found, hint, cause }: CreateErrorDetails = {},
  ) {
    super(message, { cause });
    this.expected = expected;
    this.found = found;
    this.hint = hint;
  }

  /** The exit code of the command: 2 for what is corrected on the command line, otherwise 1. */
  get exitCode(): number {
    return this.code === 'USAGE' || this.code === 'OUTPUT_EXISTS' ? 2 : 1;
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

/**
 * Returns the error with a code for an error of the operating system; any other error unchanged.
 *
 * @param what what cannot be written, as the beginning of a sentence
 * @param found the file or folder
 */
export function asCreateError(cause: unknown, what: string, found?: string): unknown {
  const { code = '' } = cause as NodeJS.ErrnoException;
  if (cause instanceof CreateError || !(cause instanceof Error) || !/^E[A-Z0-9]+$/.test(code)) return cause;
  const [known, hint] = ['EMFILE', 'ENFILE'].includes(code)
    ? (['TOO_MANY_FILES', 'Allow more open files, for example with: ulimit -n 4096'] as const)
    : ['ENOSPC', 'EDQUOT'].includes(code)
      ? (['DISK_FULL', 'Free some space, or write to another disk.'] as const)
      : (['FILE_UNWRITABLE', 'Check the permissions and the disk, or choose another folder.'] as const);
  return new CreateError(known, `${what} cannot be written: ${cause.message}`, { found, hint, cause });
}
