import { createFileSource, openFileSet, type ConversationSourceOptions, type FileSource } from './conversations.js';

/** One source of a mixture. */
export interface MixedSource extends ConversationSourceOptions {
  readonly name: string;
}

/**
 * Creates a source that reads several sources one after the other, each with its own layout. The column `source` of a
 * conversation holds the name of its source. How often each source is drawn is set by the balance: `"balance": {"by":
 * "source", "weights": {"general": 0.07}}`.
 */
export async function createMixtureSource(sources: readonly MixedSource[], baseFolder: string): Promise<FileSource> {
  return createFileSource(
    await Promise.all(sources.map(({ name, ...options }) => openFileSet(options, baseFolder, name))),
  );
}
