import { createFileSource, openPart, type ConversationSourceOptions, type FileSource } from './conversations.js';

/** A source of its own within a mixture. */
export interface MixedSource extends ConversationSourceOptions {
  readonly name: string;
}

/**
 * Several sources, one after the other, each with its own layout; every conversation gets a column `source` with the
 * name of its own. How often each is learned from is the balance's affair: `"balance": {"by": "source", "weights":
 * {"general": 0.07}}`.
 */
export async function createMixtureSource(sources: readonly MixedSource[], baseFolder: string): Promise<FileSource> {
  return createFileSource(
    await Promise.all(sources.map(({ name, ...options }) => openPart(options, baseFolder, name))),
  );
}
