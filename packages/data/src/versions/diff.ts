import type { Conversation, DataSource, Origin } from '@whetstone/core/contract';
import { stringifyExact } from '@whetstone/core/util';
import { textOf } from '../examples/message-text.js';
import { hashText } from '../transforms/duplicates/fingerprint.js';

/** The difference between two versions of a data set. */
export interface DataDiff {
  readonly unchanged: number;
  readonly added: readonly Origin[];
  readonly removed: readonly Origin[];
  /** Conversations with the same question and a different answer. */
  readonly changed: readonly { readonly before: Origin; readonly after: Origin }[];
}

const contentHash = ({ form, messages, tools, templateVariables }: Conversation): number =>
  hashText(stringifyExact([form, messages, tools ?? null, ...(templateVariables ? [templateVariables] : [])]));

/** Returns a hash of all messages before the last reply. */
function promptHash({ messages }: Conversation): number {
  const last = messages.findLastIndex(({ role }) => role === 'assistant');
  return hashText(
    messages
      .slice(0, last === -1 ? messages.length : last)
      .map((message) => `${message.role}:${textOf(message)}`)
      .join('\n'),
  );
}

interface Known {
  readonly origin: Origin;
  readonly prompt: number;
}

/** Returns the conversations of a source by the hash of their content. */
async function index(source: DataSource): Promise<Map<number, Known[]>> {
  const byContent = new Map<number, Known[]>();
  for await (const conversation of source.conversations()) {
    const content = contentHash(conversation);
    const known = { origin: conversation.origin, prompt: promptHash(conversation) };
    const others = byContent.get(content);
    if (others) others.push(known);
    else byContent.set(content, [known]);
  }
  return byContent;
}

/** Compares two versions of a data set by content, ignoring the order. Uses about 100 bytes per conversation. */
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

  const byPrompt = new Map<number, Known[]>();
  for (const known of onlyBefore) byPrompt.set(known.prompt, [...(byPrompt.get(known.prompt) ?? []), known]);
  const changed: { before: Origin; after: Origin }[] = [];
  const added: Origin[] = [];
  const paired = new Set<Known>();
  for (const known of onlyAfter) {
    const other = byPrompt.get(known.prompt)?.shift();
    if (other) {
      changed.push({ before: other.origin, after: known.origin });
      paired.add(other);
    } else {
      added.push(known.origin);
    }
  }
  const removed = onlyBefore.filter((known) => !paired.has(known)).map(({ origin }) => origin);
  return { unchanged, added, removed, changed };
}
