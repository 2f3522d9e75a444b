import { messageOf } from '@whetstone/core/util';

/** One section of the report: rows for people, the same as data for programs, and what prevents training. */
export interface Section {
  readonly rows: readonly (readonly [label: string, text: string])[];
  readonly data: unknown;
  /** Sentences about what prevents training. */
  readonly problems?: readonly string[];
}

/** The longest time that reading a section may take: a disk of the network can be gone. */
const LONGEST_SECONDS = 150;

/** Reads a section. One that cannot be read says why: a report never fails as a whole. */
export async function readSection(read: () => Promise<Section>): Promise<Section> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`It was not read within ${LONGEST_SECONDS} s.`);
    timer = setTimeout(() => reject(error), LONGEST_SECONDS * 1000);
  });
  try {
    return await Promise.race([read(), late]);
  } catch (error) {
    return unread(error);
  } finally {
    clearTimeout(timer);
  }
}

const unread = (error: unknown): Section => ({
  rows: [['not read', messageOf(error)]],
  data: { error: messageOf(error) },
});

/** Returns what `read` returns, or the reason why it cannot be read, for one row of a section. */
export async function orReason<T>(read: () => T | Promise<T>): Promise<T | { readonly error: string }> {
  try {
    return await read();
  } catch (error) {
    return { error: messageOf(error) };
  }
}

export const isReason = (value: unknown): value is { readonly error: string } =>
  typeof value === 'object' && value !== null && 'error' in value;
