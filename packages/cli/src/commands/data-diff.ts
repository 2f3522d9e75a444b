import { join } from 'node:path';
import { WhetstoneError, type Conversation, type DataSource, type Origin } from '@whetstone/core/contract';
import { stringifyExact } from '@whetstone/core/util';
import { checkFormatVersion, readTextIfPresent } from '@whetstone/core/files';
import {
  checkUnreadable,
  DATA_MANIFEST_VERSION,
  diffData,
  diffManifests,
  type DataDiff,
  type DataManifest,
  type RepeatedOrigin,
} from '@whetstone/data/internal';
import { createConversationSource } from '@whetstone/data';
import type { LayoutName } from '@whetstone/data/choices';
import { table } from '../format.js';
import { createTerminal, type Terminal } from '../terminal.js';
import type { DataOptions } from './data.js';

/** The number of conversations that are listed of each kind. */
const LISTED = 20;

interface Manifests {
  readonly train?: DataManifest | null;
  readonly eval?: DataManifest | null;
}

const read = (path: string, { layout }: DataOptions): Promise<DataSource> =>
  createConversationSource({ path: [path], layout: (layout ?? 'auto') as LayoutName | 'auto' }, process.cwd());

/**
 * Reads the description of a run's data if the path is the folder of a run or its data.json; otherwise returns null.
 */
async function manifestsOf(path: string): Promise<Manifests | null> {
  const file = path.endsWith('data.json') ? path : join(path, 'data.json');
  const text = await readTextIfPresent(file);
  if (text === null) return null;
  let value: Manifests;
  try {
    value = JSON.parse(text) as Manifests;
  } catch {
    return null;
  }
  const formats = [value.train, value.eval].flatMap((manifest) => manifest?.format ?? []);
  if (!formats.every(Number.isInteger) || formats.length === 0) return null;
  for (const found of formats)
    checkFormatVersion({ file, what: 'The description of the data', found, supported: DATA_MANIFEST_VERSION });
  return value;
}

/** Reports unreadable rows, which are not compared. Throws if no row is readable. */
function tellUnreadable(name: string, { unreadable }: DataSource, conversations: number, terminal: Terminal): void {
  const [first] = unreadable;
  if (first === undefined) return;
  if (conversations === 0) checkUnreadable(unreadable);
  terminal.complain(
    `${terminal.paint.yellow('warning:')} ${unreadable.length === 1 ? 'One row' : `${unreadable.length} rows`} ` +
      `of ${name} cannot be read and ${unreadable.length === 1 ? 'is' : 'are'} not compared; the first is line ` +
      `${first.origin.line ?? first.origin.index + 1}: ${first.reason}`,
  );
}

const keyOf = ({ file, line, index }: Origin): string => `${file ?? ''}:${line ?? ''}:${index}`;

/** Reads the texts of some conversations again: a comparison stores only hashes. */
async function textsOf(source: DataSource, places: readonly Origin[]): Promise<ReadonlyMap<string, Conversation>> {
  const wanted = new Set(places.map(keyOf));
  const found = new Map<string, Conversation>();
  if (wanted.size === 0) return found;
  for await (const conversation of source.conversations()) {
    const key = keyOf(conversation.origin);
    if (wanted.has(key)) found.set(key, conversation);
    if (found.size === wanted.size) break;
  }
  return found;
}

/** The text of a turn on one line. */
function short(content: unknown): string {
  const text = (typeof content === 'string' ? content : JSON.stringify(content ?? ''))
    .replace(/\s+/g, ' ')
    .replace(/\p{Cc}/gu, '�');
  const characters = [...text];
  return characters.length > 60 ? `${characters.slice(0, 59).join('')}…` : text;
}

/**
 * `whetstone data diff A B`: lists the changes between two versions of a data set, or between the data of two runs.
 */
export async function dataDiff(before: string, after: string, options: DataOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const manifests = [await manifestsOf(before), await manifestsOf(after)];
  const [old, young] = manifests;
  if (old && young) return diffRuns(old, young, terminal);
  if (old || young)
    throw new WhetstoneError('USAGE', 'The data of a run cannot be compared with a data set.', {
      expected: 'two data sets, or the folders of two runs',
      found: `${before} and ${after}`,
    });

  const sources = [await read(before, options), await read(after, options)] as const;
  const diff = await diffData(...sources);
  const { unchanged, added, removed, changed, otherwiseEqual } = diff;
  const counts = { added: sumOf(added), removed: sumOf(removed) };
  const paired = unchanged + changed.length + otherwiseEqual.length;
  const unreadable = { before: sources[0].unreadable.length, after: sources[1].unreadable.length };
  tellUnreadable(before, sources[0], paired + counts.removed, terminal);
  tellUnreadable(after, sources[1], paired + counts.added, terminal);
  terminal.line(
    table([
      ['unchanged', String(unchanged)],
      ['added', String(counts.added)],
      ['removed', String(counts.removed)],
      ['answered otherwise', String(changed.length)],
      ['other columns or fields', String(otherwiseEqual.length)],
    ]),
  );
  await listChanges(diff, sources, terminal);
  terminal.result({ ...diff, unreadable });
}

const sumOf = (groups: readonly RepeatedOrigin[]): number => groups.reduce((sum, { count }) => sum + count, 0);

/** Lists the first changes of each kind. Equal conversations are one line. */
async function listChanges(
  { added, removed, changed, otherwiseEqual }: DataDiff,
  [before, after]: readonly [DataSource, DataSource],
  terminal: Terminal,
): Promise<void> {
  const { red, green, yellow } = terminal.paint;
  const pairs = [...changed.slice(0, LISTED), ...otherwiseEqual.slice(0, LISTED)];
  const was = await textsOf(before, [...removed.slice(0, LISTED), ...pairs.map((pair) => pair.before)]);
  const is = await textsOf(after, [...added.slice(0, LISTED), ...pairs.map((pair) => pair.after)]);
  const positionOf = ({ file, line, index }: Origin): string => `${file ?? ''}:${line ?? index + 1}`;
  const turn = (conversation: Conversation | undefined, at: number): string =>
    short(conversation?.messages.at(at)?.content ?? '');
  const more = (count: number): void => (count > 0 ? terminal.line(`  and ${count} more`) : undefined);
  const times = (count: number): string => (count === 1 ? '' : `  (${count} times)`);
  for (const [sign, groups, texts] of [
    [red('-'), removed, was],
    [green('+'), added, is],
  ] as const) {
    for (const origin of groups.slice(0, LISTED))
      terminal.line(`${sign} ${positionOf(origin)}  ${turn(texts.get(keyOf(origin)), 0)}${times(origin.count)}`);
    more(sumOf(groups.slice(LISTED)));
  }
  for (const pair of changed.slice(0, LISTED)) {
    terminal.line(`${yellow('~')} ${positionOf(pair.after)}  ${turn(is.get(keyOf(pair.after)), 0)}`);
    terminal.line(`    ${red('-')} ${turn(was.get(keyOf(pair.before)), -1)}`);
    terminal.line(`    ${green('+')} ${turn(is.get(keyOf(pair.after)), -1)}`);
  }
  more(changed.length - LISTED);
  for (const pair of otherwiseEqual.slice(0, LISTED)) {
    terminal.line(`${yellow('~')} ${positionOf(pair.after)}  ${turn(is.get(keyOf(pair.after)), 0)}`);
    for (const change of settingChanges(was.get(keyOf(pair.before)), is.get(keyOf(pair.after))))
      terminal.line(`    ${change}`);
  }
  more(otherwiseEqual.length - LISTED);
}

/** Describes the columns and fields of messages in which two conversations with the same texts differ. */
function settingChanges(before: Conversation | undefined, after: Conversation | undefined): string[] {
  const settingsOf = (conversation: Conversation | undefined): ReadonlyMap<string, string> =>
    new Map(
      [
        ...Object.entries(conversation?.columns ?? {}),
        ['tools', conversation?.tools] as const,
        ['chat_template_kwargs', conversation?.templateVariables] as const,
        ...(conversation?.messages ?? []).flatMap((message, at) =>
          Object.entries(message).map(([name, value]) => [`messages[${at}].${name}`, value] as const),
        ),
      ].flatMap(([name, value]) => (value === undefined ? [] : [[name, stringifyExact(value)] as const])),
    );
  const [old, young] = [settingsOf(before), settingsOf(after)];
  return [...new Set([...old.keys(), ...young.keys()])]
    .filter((name) => old.get(name) !== young.get(name))
    .map((name) => `${name}: ${short(old.get(name) ?? 'absent')} → ${short(young.get(name) ?? 'absent')}`);
}

function diffRuns(before: Manifests, after: Manifests, terminal: Terminal): void {
  const changes = (['train', 'eval'] as const).flatMap((part) => {
    const [old, young] = [before[part] ?? null, after[part] ?? null];
    if (old === null || young === null)
      return old === young
        ? []
        : [{ path: part, before: old === null ? 'none' : 'there', after: young === null ? 'none' : 'there' }];
    return diffManifests(old, young).map((change) => ({ ...change, path: `${part}.${change.path}` }));
  });
  const shown = (value: unknown): string =>
    value === undefined ? '–' : short(typeof value === 'string' ? value : JSON.stringify(value));
  if (changes.length === 0) terminal.line('Both runs used the same data, prepared in the same way.');
  else
    terminal.line(
      table([
        ['', 'before', 'after'],
        ...changes.map(({ path, before: old, after: young }) => [path, shown(old), shown(young)]),
      ]),
    );
  terminal.result({ changes });
}
