import { WhetstoneError } from '../contract/index.js';

/** A file that Whetstone wrote, with the version of its format. */
export interface VersionedFile {
  readonly file: string;
  /** The kind of file, as the subject of a sentence: `The checkpoint`. */
  readonly what: string;
  /** The version in the file; undefined for files without one, which have version 1. */
  readonly found: unknown;
  /** The newest version that can be read. */
  readonly supported: number;
  /** The version of Whetstone that wrote the file, if it is recorded. */
  readonly writtenBy?: unknown;
}

/**
 * Checks that this version of Whetstone can read a file.
 *
 * @throws `VERSION_UNSUPPORTED` if the version of its format is newer or invalid
 */
export function checkFormatVersion({ file, what, found, supported, writtenBy }: VersionedFile): void {
  const version = found ?? 1;
  const isVersion = Number.isInteger(version) && (version as number) >= 1;
  if (isVersion && (version as number) <= supported) return;
  const isKnownWriter = typeof writtenBy === 'string' && /^\d+\.\d+\.\d+/.test(writtenBy);
  throw new WhetstoneError(
    'VERSION_UNSUPPORTED',
    isVersion ? `${what} was written by a newer version of Whetstone.` : `${what} has an invalid format version.`,
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
