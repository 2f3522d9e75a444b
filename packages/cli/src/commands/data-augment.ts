import { resolve } from 'node:path';
import type { Conversation } from '@whetstone/core/contract';
import { writeAtomically } from '@whetstone/core/files';
import { rowOf } from '@whetstone/data/internal';
import { transformTable } from '../format.js';
import { createTerminal } from '../terminal.js';
import {
  distinctData,
  handleUnreadable,
  joinData,
  openData,
  openTransforms,
  stageNames,
  tellStages,
  unreadablePolicyOf,
  type SelectionOptions,
} from './open-data.js';

export interface AugmentOptions extends SelectionOptions {
  readonly out: string;
  /** Names of transforms, or `{"use", "options"}` as JSON. */
  readonly with: readonly string[];
  readonly seed: number;
  readonly unreadableRows?: string;
  readonly json?: boolean;
}

/**
 * Returns a conversation as a line of JSON Lines. Augmented ones have `augmentedFrom`: the place of the original, or a
 * list of places if there are several.
 */
function lineOf(conversation: Conversation): string {
  const { columns, origin } = conversation;
  if (columns?.['augmentation'] === undefined) return rowOf(conversation);
  const places = [...(origin.others ?? []), origin].map(
    ({ file, line, index }) => `${file ?? ''}:${line ?? index + 1}`,
  );
  const augmentedFrom = places.length === 1 ? (places[0] ?? '') : places;
  return rowOf({ ...conversation, columns: { ...columns, augmentedFrom } });
}

/** `whetstone data augment FILES --out FILE`: writes the conversations and their augmented copies as JSON Lines. */
export async function dataAugment(paths: readonly string[], options: AugmentOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const policy = unreadablePolicyOf(options.unreadableRows);
  const transforms = await openTransforms(options.with, options.seed, terminal);
  const all = await openData(paths, options, terminal);
  tellStages(all, terminal);
  const data = joinData(distinctData(all), transforms);
  const file = resolve(options.out);
  await writeAtomically(file, async (handle) => {
    let conversations = 0;
    for await (const conversation of data.source.conversations()) {
      conversations++;
      await handle.write(lineOf(conversation));
    }
    handleUnreadable(data, policy, conversations, terminal);
  });
  const reports = data.reports();
  terminal.line(transformTable(reports));
  terminal.line(`Written to ${file}`);
  terminal.result({
    file,
    stages: stageNames(all),
    transforms: reports.map(({ removals: _removals, ...report }) => report),
    unreadable: data.source.unreadable.length,
  });
}
