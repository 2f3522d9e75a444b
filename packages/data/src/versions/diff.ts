import type { Conversation, DataSource, Origin } from '@whetstone/core/contract';
import { sortKeys, stringifyExact } from '@whetstone/core/util';
import { textOf } from '../examples/message-text.js';
import { hashText } from '../transforms/duplicates/fingerprint.js';

/** A conversation that one version has more often than the other, as the first of its equals. */
export interface RepeatedOrigin extends Origin {
  /** How many more times. */
  readonly count: number;
}

interface ChangedPair {
  readonly before: Origin;
  readonly after: Origin;
}

/** The difference between two versions of a data set. */
export interface DataDiff {
  readonly unchanged: number;
  readonly added: readonly RepeatedOrigin[];
  readonly removed: readonly RepeatedOrigin[];
  /** Conversations with the same question and a different answer. */
  readonly changed: readonly ChangedPair[];
  /** Conversations with the same texts, and other columns (topic) or fields of messages (weight, train). */
  readonly otherwiseEqual: readonly ChangedPair[];
}

/** Returns a hash of all that can influence training. The order of columns and of their keys does not. */
const contentHash = ({ form, messages, tools, templateVariables, columns }: Conversation): number =>
  hashText(
    stringifyExact([
      form,
      messages.map((message) => sortKeys(message)),
      tools ?? null,
      ...(templateVariables ? [templateVariables] : []),
      sortKeys(columns ?? {}),
    ]),
  );

/** Returns a hash of the roles and texts of messages. */
const textHash = (messages: Conversation['messages']): number =>
  hashText(messages.map((message) => `${message.role}:${textOf(message)}`).join('\n'));

/** Returns a hash of all messages before the last reply. */
function promptHash({ messages }: Conversation): number {
  const last = messages.findLastIndex(({ role }) => role === 'assistant');
  return textHash(messages.slice(0, last === -1 ? messages.length : last));
}

interface Known {
  readonly origin: Origin;
  readonly content: number;
  readonly text: number;
  readonly prompt: number;
}

/** Returns the conversations of a source by the hash of their content. */
async function index(source: DataSource): Promise<Map<number, Known[]>> {
  const byContent = new Map<number, Known[]>();
  for await (const conversation of source.conversations()) {
    const content = contentHash(conversation);
    const { origin, messages } = conversation;
    const known = { origin, content, text: textHash(messages), prompt: promptHash(conversation) };
    const others = byContent.get(content);
    if (others) others.push(known);
    else byContent.set(content, [known]);
  }
  return byContent;
}

/** Pairs conversations with the same key, in order. Returns the pairs, and what has no partner. */
function pairBy(
  before: readonly Known[],
  after: readonly Known[],
  key: 'text' | 'prompt',
): { readonly pairs: readonly ChangedPair[]; readonly before: readonly Known[]; readonly after: readonly Known[] } {
  const waiting = new Map<number, Known[]>();
  for (const known of before) {
    const others = waiting.get(known[key]);
    if (others) others.push(known);
    else waiting.set(known[key], [known]);
  }
  for (const others of waiting.values()) others.reverse();
  const paired = new Set<Known>();
  const pairs: ChangedPair[] = [];
  const alone: Known[] = [];
  for (const known of after) {
    const other = waiting.get(known[key])?.pop();
    if (other === undefined) {
      alone.push(known);
      continue;
    }
    pairs.push({ before: other.origin, after: known.origin });
    paired.add(other);
  }
  return { pairs, before: before.filter((known) => !paired.has(known)), after: alone };
}

/** Counts equal conversations, in the order of the first one. */
function grouped(conversations: readonly Known[]): RepeatedOrigin[] {
  const groups = new Map<number, { origin: Origin; count: number }>();
  for (const { content, origin } of conversations) {
    const group = groups.get(content);
    if (group) group.count++;
    else groups.set(content, { origin, count: 1 });
  }
  return [...groups.values()].map(({ origin, count }) => ({ ...origin, count }));
}

/** Compares two versions of a data set by content, ignoring the order. Uses about 150 bytes per conversation. */
export async function diffData(before: DataSource, after: DataSource): Promise<DataDiff> {
  const [knownBefore, knownAfter] = [await index(before), await index(after)];
  let unchanged = 0;
  const onlyBefore: Known[] = [];
  const onlyAfter: Known[] = [];
  for (const [content, known] of knownBefore) {
    const others = knownAfter.get(content) ?? [];
    unchanged += Math.min(known.length, others.length);
    onlyBefore.push(...known.slice(others.length));
  }
  for (const [content, known] of knownAfter) onlyAfter.push(...known.slice(knownBefore.get(content)?.length ?? 0));
  const sameText = pairBy(onlyBefore, onlyAfter, 'text');
  const samePrompt = pairBy(sameText.before, sameText.after, 'prompt');
  return {
    unchanged,
    added: grouped(samePrompt.after),
    removed: grouped(samePrompt.before),
    changed: samePrompt.pairs,
    otherwiseEqual: sameText.pairs,
  };
}
