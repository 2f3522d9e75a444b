import { resolve } from 'node:path';
import type { Conversation } from '@whetstone/core/contract';
import { writeAtomically } from '@whetstone/core/files';
import { applyTransforms } from '@whetstone/data';
import { checkUnreadable, enforceUnreadableLimit, rowOf } from '@whetstone/data/internal';
import { transformTable } from '../format.js';
import { createTerminal } from '../terminal.js';
import { openData, openTransforms } from './open-data.js';

export interface AugmentOptions {
  readonly out: string;
  /** Names of transforms, or `{"use", "options"}` as JSON. */
  readonly with: readonly string[];
  readonly layout?: string;
  readonly seed: number;
  readonly json?: boolean;
}

/** Returns a conversation as a line of JSON Lines. Augmented ones have `augmentedFrom`. */
function lineOf(conversation: Conversation): string {
  const { columns, origin } = conversation;
  if (columns?.['augmentation'] === undefined) return rowOf(conversation);
  const augmentedFrom = `${origin.file ?? ''}:${origin.line ?? origin.index + 1}`;
  return rowOf({ ...conversation, columns: { ...columns, augmentedFrom } });
}

/** `whetstone data augment FILES --out FILE`: writes the conversations and their augmented copies as JSON Lines. */
export async function dataAugment(paths: readonly string[], options: AugmentOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const transforms = await openTransforms(options.with, options.seed, terminal);
  const data = await openData(paths, options.layout, terminal);
  const source = applyTransforms(data.source, [...data.transforms, ...transforms]);
  const file = resolve(options.out);
  await writeAtomically(file, async (handle) => {
    let conversations = 0;
    for await (const conversation of source.conversations()) {
      conversations++;
      await handle.write(lineOf(conversation));
    }
    if (data.config === null) checkUnreadable(source.unreadable);
    else enforceUnreadableLimit(source.unreadable, conversations, data.config.data.unreadableRows);
  });
  terminal.line(transformTable(source.reports));
  terminal.line(`Written to ${file}`);
  terminal.result({ file, transforms: source.reports.map(({ removals: _removals, ...report }) => report) });
}
