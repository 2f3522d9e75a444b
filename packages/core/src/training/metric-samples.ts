import type { Conversation, MetricSample } from '../contract/index.js';
import { WhetstoneError } from '../contract/errors.js';
import { isRecord, plainNumbers } from '../util/index.js';

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

/** The choices of a sample, and the index of its reference among them. */
export interface SampleChoices {
  readonly texts: readonly string[];
  readonly answer: number;
}

/**
 * Returns the choices of a sample: its column `choices`.
 *
 * @throws `DATA_UNREADABLE` if there are fewer than two, or the reference is none of them
 */
export function choicesOf({ columns, references: [reference], conversation }: MetricSample): SampleChoices {
  const { choices } = columns;
  // Rows of multiple-choice data also have the form {text: […], label: […]}.
  const list: unknown = isRecord(choices) ? choices['text'] : choices;
  const texts = Array.isArray(list)
    ? list.map((choice: unknown) => (typeof choice === 'string' ? choice.trim() : ''))
    : [];
  const answer = texts.indexOf(reference);
  if (texts.length >= 2 && !texts.includes('') && answer >= 0) return { texts, answer };
  const { file, line } = conversation.origin;
  throw new WhetstoneError('DATA_UNREADABLE', 'A sample does not have the choices that a metric needs.', {
    place: { file, line },
    expected: `a column "choices" with at least two texts, one of which is the answer ${JSON.stringify(reference)}`,
    found: choices === undefined ? 'no column "choices"' : JSON.stringify(choices).slice(0, 200),
  });
}

/** Returns a sample for each choice, with the choice as its reference. */
export const choiceSamples = (sample: MetricSample, { texts }: SampleChoices): MetricSample[] =>
  texts.map((text) => {
    const { conversation, prompt } = sample;
    const answer = { ...conversation.messages[prompt.length], role: 'assistant', content: text };
    return { ...sample, conversation: { ...conversation, messages: [...prompt, answer] }, references: [text] };
  });

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
