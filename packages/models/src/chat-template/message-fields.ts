import { WhetstoneError, type ContentPart, type Message } from '@whetstone/core/contract';
import { isReasoningPart, isRecord, parseExact, REASONING_FIELDS, reasoningText } from '@whetstone/core/util';
import { rethrowLimit } from './limit.js';

/** Keys of a message that control training; templates do not see them. */
const trainingKeys: readonly string[] = ['train', 'weight', 'isPrompt'] satisfies (keyof Message)[];

/**
 * Returns a message as templates see it: without the keys that control training, with its reasoning under the names
 * that templates read, and with the arguments of tools as a mapping if the template expects one.
 *
 * @throws `TEMPLATE_FAILED` if the arguments are text that is not a JSON object, and the template expects a mapping
 */
export function forTemplate(message: Message, { expectsMapping, readsParts }: Expectations): Fields {
  const fields = Object.fromEntries(Object.entries(message).filter(([key]) => !trainingKeys.includes(key)));
  return withArguments(withReasoning(fields, readsParts), expectsMapping);
}

/** What a template expects of messages; probed when a message needs it. */
export interface Expectations {
  /** Returns whether the arguments of tools must be a mapping. */
  readonly expectsMapping: () => boolean;
  /** Returns whether parts of a content that are reasoning are written by the template itself, as Magistral's does. */
  readonly readsParts: () => boolean;
}

type Fields = Readonly<Record<string, unknown>>;

function withReasoning(given: Fields, readsParts: () => boolean): Fields {
  const fields = withoutReasoningParts(given, readsParts);
  const name = REASONING_FIELDS.find((key) => fields[key] !== undefined && fields[key] !== null);
  return name === undefined ? fields : { thinking: fields[name], ...fields, reasoning_content: fields[name] };
}

/** Moves parts of the content that are reasoning into a field. If only text remains, it is joined. */
function withoutReasoningParts(fields: Fields, readsParts: () => boolean): Fields {
  const { content } = fields;
  if (!Array.isArray(content)) return fields;
  const parts = content as readonly ContentPart[];
  if (!parts.some(isReasoningPart) || readsParts()) return fields;
  const rest = parts.filter((part) => !isReasoningPart(part));
  const reasoning = parts.filter(isReasoningPart).map(reasoningText);
  const isPlain = rest.every(({ type }) => type === 'text');
  return {
    ...fields,
    content: isPlain ? rest.map(({ text }) => text ?? '').join('') : rest,
    reasoning_content: [fields['reasoning_content'] ?? '', ...reasoning].join(''),
  };
}

function withArguments(fields: Fields, expectsMapping: () => boolean): Fields {
  const calls = fields['tool_calls'];
  if (!Array.isArray(calls) || !calls.some((call: unknown) => typeof argumentsOf(call) === 'string')) return fields;
  return expectsMapping() ? { ...fields, tool_calls: calls.map(withParsedArguments) } : fields;
}

function argumentsOf(call: unknown): unknown {
  if (!isRecord(call)) return undefined;
  return isRecord(call['function']) ? call['function']['arguments'] : call['arguments'];
}

function withParsedArguments(call: unknown): unknown {
  const written = argumentsOf(call);
  if (typeof written !== 'string' || !isRecord(call)) return call;
  const parsed = { arguments: parseArguments(written) };
  return isRecord(call['function'])
    ? { ...call, function: { ...call['function'], ...parsed } }
    : { ...call, ...parsed };
}

function parseArguments(written: string): unknown {
  if (written.trim() === '') return {};
  let value: unknown;
  try {
    value = parseExact(written);
  } catch {
    value = undefined;
  }
  if (isRecord(value)) return value;
  throw new WhetstoneError('TEMPLATE_FAILED', 'The arguments of a tool call are text that is not a JSON object.', {
    expected: 'an object, or an object as JSON text, because the template reads the arguments as a mapping',
    found: written.length > 80 ? `${written.slice(0, 80)}…` : written,
  });
}

const PROBE = '{"whetstone_probe":"y"}';
const THOUGHT = 'whetstone_thought';

type Render = (messages: readonly Message[]) => string;

/** Returns whether a template expects the arguments of tools as a mapping: it fails for text, or quotes it again. */
export function probeExpectsMapping(render: Render): boolean {
  const call = { type: 'function', function: { name: 'f', arguments: PROBE } } as const;
  const calling: Message = { role: 'assistant', content: '', tool_calls: [call] };
  return rendered(render, calling)?.includes(PROBE) !== true;
}

/** Returns whether a template writes the reasoning in parts of a content, and not the list of the parts. */
export function probeReadsParts(render: Render): boolean {
  const parts = [
    { type: 'thinking', thinking: THOUGHT },
    { type: 'text', text: 'b' },
  ];
  const text = rendered(render, { role: 'assistant', content: parts });
  return text?.includes(THOUGHT) === true && !text.includes("'type'") && !text.includes('"type"');
}

/** Renders a reply to a question; null if the template fails. */
function rendered(render: Render, reply: Message): string | null {
  try {
    return render([{ role: 'user', content: 'a' }, reply]);
  } catch (error) {
    rethrowLimit(error);
    return null;
  }
}
