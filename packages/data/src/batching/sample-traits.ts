import path from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import type { Conversation } from '@whetstone/core/contract';
import { didYouMean, plainNumbers, stringifyExact } from '@whetstone/core/util';
import { placeOf } from '../sources/origins.js';
import type { BatchOptions } from './options.js';

/** The properties of samples that balance and curriculum need; plain data, which is cached with the tokens. */
export interface SampleTraits {
  readonly groupNames: string[];
  /** The group of each sample; empty without a balance. */
  readonly groups: number[];
  /** The difficulty of each sample; empty unless the curriculum uses a column. */
  readonly difficulties: number[];
  /** The names of the columns, for messages; empty without a balance. */
  readonly columns: string[];
}

/** The most names of columns that are collected. */
const MAX_COLUMNS = 100;

/** Creates the error of a balance by a column that no conversation has. */
export function missingColumn(by: string, columns: readonly string[]): WhetstoneError {
  const mixture = by === 'source' ? 'The groups "source" are those of the data source "mixture". ' : '';
  return new WhetstoneError('CONFIG_CONFLICT', `No conversation has the column ${JSON.stringify(by)}.`, {
    place: { path: 'data.balance.by' },
    expected: columns.length > 0 ? columns.slice(0, 20).join(', ') : 'a column of the data',
    found: columns.length > 0 ? by : `${by}, but the data has no columns besides its messages`,
    hint:
      didYouMean(by, columns) ??
      `${mixture}Name a column of the data, or add one: the transform "topics" writes the column "topic".`,
  });
}

/** Returns the group of a conversation: the name of its file, or the value of a column. */
function groupOf({ origin, columns }: Conversation, by: string): string {
  if (by === 'file') return origin.file === undefined ? '' : path.basename(origin.file);
  const value = columns?.[by];
  return typeof value === 'string' ? value : (value ?? null) === null ? '' : JSON.stringify(plainNumbers(value));
}

function difficultyOf({ origin, columns }: Conversation, by: string): number {
  const value = Number(columns?.[by] ?? Number.NaN);
  if (Number.isFinite(value)) return value;
  throw new WhetstoneError(
    'CONFIG_CONFLICT',
    `The curriculum uses the column "${by}", which is not a number in a conversation.`,
    {
      place: placeOf(origin),
      found: stringifyExact(columns?.[by] ?? null),
      hint: columns?.[by] === undefined ? didYouMean(by, Object.keys(columns ?? {})) : undefined,
    },
  );
}

function addColumns(all: string[], names: readonly string[]): void {
  for (const name of names) if (all.length < MAX_COLUMNS && !all.includes(name)) all.push(name);
}

/** Appends the traits of further samples. */
export function appendTraits(all: SampleTraits, { groupNames, groups, difficulties, columns }: SampleTraits): void {
  const numbers = groupNames.map((name) => {
    const known = all.groupNames.indexOf(name);
    return known === -1 ? all.groupNames.push(name) - 1 : known;
  });
  for (const group of groups) all.groups.push(numbers[group] ?? 0);
  for (const difficulty of difficulties) all.difficulties.push(difficulty);
  addColumns(all.columns, columns);
}

/** Collects the traits of samples as they are added to the store. */
export function createTraitCollector({ balance, curriculum }: Pick<BatchOptions, 'balance' | 'curriculum'>): {
  add(conversation: Conversation): void;
  readonly traits: SampleTraits;
} {
  const traits: SampleTraits = { groupNames: [], groups: [], difficulties: [], columns: [] };
  const known = new Map<string, number>();
  return {
    traits,
    add(conversation) {
      if (balance !== null) {
        const name = groupOf(conversation, balance.by);
        let group = known.get(name);
        if (group === undefined) {
          group = traits.groupNames.push(name) - 1;
          known.set(name, group);
        }
        traits.groups.push(group);
        addColumns(traits.columns, Object.keys(conversation.columns ?? {}));
      }
      if (curriculum !== null && curriculum.by !== 'length' && curriculum.by !== 'loss')
        traits.difficulties.push(difficultyOf(conversation, curriculum.by));
    },
  };
}
