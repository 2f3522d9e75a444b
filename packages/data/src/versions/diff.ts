import type { Conversation, DataSource, Origin } from '@whetstone/core/contract';
import { textOf } from '../examples/message-text.js';
import { hashText } from '../transforms/duplicates/fingerprint.js';

/** What became of the conversations of one version of a data set in another. */
export interface DataDiff {
  readonly unchanged: number;
  readonly added: readonly Origin[];
  readonly removed: readonly Origin[];
  /** The same question with another answer. */
  readonly changed: readonly { readonly before: Origin; readonly after: Origin }[];
}

const contentHash = ({ form, messages, tools }: Conversation): number =>
  hashText(JSON.stringify([form, messages, tools ?? null]));

/** What is asked: everything before the last reply. */
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

/** Conversations by the hash of their content; equal ones are counted one by one. */
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

/**
 * Compares two versions of a data set by content: the order does not matter. Some 100 bytes a conversation are kept.
 */
export async function diffData(before: DataSource, after: DataSource): Promise<DataDiff> {
  const [old, young] = [await index(before), await index(after)];
  let unchanged = 0;
  const gone: Known[] = [];
  const come: Known[] = [];
  for (const [content, known] of old) {
    const others = young.get(content) ?? [];
    unchanged += Math.min(known.length, others.length);
    gone.push(...known.slice(others.length));
  }
  for (const [content, known] of young) come.push(...known.slice(old.get(content)?.length ?? 0));

  const byPrompt = new Map<number, Known[]>();
  for (const known of gone) byPrompt.set(known.prompt, [...(byPrompt.get(known.prompt) ?? []), known]);
  const changed: { before: Origin; after: Origin }[] = [];
  const added: Origin[] = [];
  const paired = new Set<Known>();
  for (const known of come) {
    const other = byPrompt.get(known.prompt)?.shift();
    if (other) {
      changed.push({ before: other.origin, after: known.origin });
      paired.add(other);
    } else {
      added.push(known.origin);
    }
  }
  return { unchanged, added, removed: gone.filter((known) => !paired.has(known)).map(({ origin }) => origin), changed };
}
