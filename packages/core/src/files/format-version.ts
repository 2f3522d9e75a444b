import { WhetstoneError } from '../contract/index.js';

/** A file that Whetstone wrote, and what it says of its own format. */
export interface VersionedFile {
  readonly file: string;
  /** What the file is, at the start of a sentence: `The checkpoint`. */
  readonly what: string;
  /** The version that the file says; files without one are of version 1. */
  readonly found: unknown;
  /** The newest version that can be read. */
  readonly supported: number;
  /** The version of Whetstone that wrote it, if the file says so. */
  readonly writtenBy?: unknown;
}

/**
 * Checks that this version of Whetstone can read a file.
 *
 * @throws WhetstoneError `VERSION_UNSUPPORTED` if its format is newer, or is no version at all.
 */
export function checkFormatVersion({ file, what, found, supported, writtenBy }: VersionedFile): void {
  const version = found ?? 1;
  const isVersion = Number.isInteger(version) && (version as number) >= 1;
  if (isVersion && (version as number) <= supported) return;
  const isKnownWriter = typeof writtenBy === 'string' && /^\d+\.\d+\.\d+/.test(writtenBy);
  throw new WhetstoneError(
    'VERSION_UNSUPPORTED',
    isVersion
      ? `${what} was written by a newer version of Whetstone.`
      : `${what} has a format version that does not exist.`,
    {
      place: { file },
      expected: supported === 1 ? 'format version 1' : `format version 1 to ${supported}`,
      found: `format version ${JSON.stringify(version)}${isKnownWriter ? `, written by Whetstone ${writtenBy}` : ''}`,
      hint: isKnownWriter
        ? `Install Whetstone ${writtenBy} or later, or use a file that this version wrote.`
        : 'Install a later version of Whetstone, or use a file that this version wrote.',
      details: { version, supported },
    },
  );
}
