import type { Conversation, MetricSample } from '../contract/index.js';
import { WhetstoneError } from '../contract/errors.js';
import { plainNumbers } from '../util/index.js';

/** Returns the sample of a conversation, whose last text answer is the reference; null if it has none. */
export function sampleOf(conversation: Conversation): MetricSample | null {
  const { messages, form, columns = {} } = conversation;
  const last = messages.findLastIndex(
    ({ role, content }) => role === 'assistant' && typeof content === 'string' && content.trim() !== '',
  );
  const content = messages[last]?.content;
  if (form !== 'chat' || last < 1 || typeof content !== 'string') return null;
  return {
    conversation,
    prompt: messages.slice(0, last),
    references: [content.trim()],
    columns: plainNumbers(columns),
  };
}

/** The error for evaluation data without a sample. */
export const noSamples = (): WhetstoneError =>
  new WhetstoneError('DATA_EMPTY', 'No conversation of the evaluation data ends with an answer.', {
    hint: 'Metrics need chats that consist of questions and answers.',
  });

/** Yields the samples of conversations, at most `size` at a time, without those beyond the first `most`. */
export async function* sampleWindows(
  conversations: AsyncIterable<Conversation> | Iterable<Conversation>,
  size: number,
  most: number,
): AsyncGenerator<readonly MetricSample[]> {
  let window: MetricSample[] = [];
  let count = 0;
  for await (const conversation of conversations) {
    const sample = sampleOf(conversation);
    if (sample === null) continue;
    count++;
    window.push(sample);
    if (window.length === size || count === most) {
      yield window;
      window = [];
    }
    if (count === most) return;
  }
  if (window.length > 0) yield window;
}
